#include "ops/tq_format.h"

#include <algorithm>

#include "core/error.h"

namespace metalhead {

void check_rotated_dim(const char* op, int64_t head_dim) {
  if (head_dim < 32 || head_dim > 512 || (head_dim & (head_dim - 1)) != 0) {
    throw ValueError(concat(op, ": head_dim must be a power of two from 32 to 512, got ", head_dim));
  }
}

void check_format(const char* op, const TQFormat& f) {
  if (f.bits < 2 || f.bits > 8 || f.bits == 7) {
    throw ValueError(concat(op, ": bits must be 2, 3, 4, 5, 6 or 8, got ", f.bits));
  }
  check_rotated_dim(op, f.head_dim);
  if (f.search != 1 && f.search != 5 && f.search != 17) {
    throw ValueError(concat(op, ": search must be 1, 5 or 17, got ", f.search));
  }
  if (f.norm_dtype != DType::kFloat32 && f.norm_dtype != DType::kFloat16) {
    throw TypeError(concat(op, ": norm_dtype must be float32 or float16, got ", name_of(f.norm_dtype)));
  }
}

SignBits signs_of_seed(const std::optional<uint64_t>& seed, int head_dim) {
  SignBits signs{};
  if (!seed) return signs;
  uint64_t state = *seed;
  for (int j = 0; j < head_dim; ++j) {
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    signs[static_cast<size_t>(j / 32)] |= static_cast<uint32_t>(z >> 63) << (j % 32);
  }
  return signs;
}

void check_packed(const char* op, const char* name, const Tensor& codes, const Tensor& norms, int bits,
                  int head_dim) {
  if (codes.dtype != DType::kUInt8) {
    throw TypeError(concat(op, ": ", name, " codes must be uint8, got ", name_of(codes.dtype)));
  }
  if (norms.dtype != DType::kFloat32 && norms.dtype != DType::kFloat16) {
    throw TypeError(concat(op, ": ", name, " norms must be float32 or float16, got ", name_of(norms.dtype)));
  }
  const int64_t bytes = packed_bytes(bits, head_dim);
  const bool last_fits = codes.rank > 0 && codes.shape[static_cast<size_t>(codes.rank - 1)] == bytes;
  if (!last_fits) {
    throw ValueError(concat(op, ": ", name, " codes of ", bits, " bits and head_dim ", head_dim,
                            " must end in an axis of ", bytes, " bytes, got shape ", shape_text(codes)));
  }
  const bool same = norms.rank == codes.rank - 1 &&
                    std::equal(norms.shape.begin(), norms.shape.begin() + norms.rank, codes.shape.begin());
  if (!same) {
    throw ValueError(concat(op, ": ", name,
                            " norms must have the shape of its codes without the last axis, got ",
                            shape_text(norms), " for codes ", shape_text(codes)));
  }
}

}  // namespace metalhead
