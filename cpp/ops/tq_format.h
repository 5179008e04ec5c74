// The format of packed vectors: its rules, its sizes and the signs that a seed stands for.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "core/tensor.h"
#include "metal/params/function_constants.h"

namespace metalhead {

/// Bit j set: coordinate j is negated before the transform.
using SignBits = std::array<uint32_t, 16>;

/// How vectors are packed; `norm` and `search` concern the encoder alone.
struct TQFormat {
  int bits = 4;
  int head_dim = 128;
  std::optional<uint64_t> seed = 0;  ///< none: no signs
  NormKind norm = kNormCorrected;
  int search = 1;
  DType norm_dtype = DType::kFloat16;
};

/// Throws ValueError unless the transform exists for `head_dim`: a power of two from 32 to 512.
void check_rotated_dim(const char* op, int64_t head_dim);

/// Throws ValueError or TypeError that names the field, the rule and the value.
void check_format(const char* op, const TQFormat& format);

/// Bytes of one packed vector.
constexpr int64_t packed_bytes(int bits, int64_t head_dim) { return head_dim * bits / 8; }

/// Signs of the outputs of SplitMix64 seeded with `seed`: negative where the top bit is set.
SignBits signs_of_seed(const std::optional<uint64_t>& seed, int head_dim);

/// Checks codes uint8 [..., head_dim * bits / 8] and norms [...] against each other and the format.
void check_packed(const char* op, const char* name, const Tensor& codes, const Tensor& norms, int bits,
                  int head_dim);

}  // namespace metalhead
