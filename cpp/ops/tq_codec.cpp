#include "ops/tq_codec.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "metal/common/codec_rule.h"
#include "metal/params/codec_params.h"
#include "ops/checks.h"
#include "ops/vector_launch.h"

namespace metalhead {

namespace {

constexpr const char* kEncode = "tq_encode";

/// Tensors of the same vectors as x in a scratch buffer: codes first, then norms, contiguous.
struct EncodeScratch {
  ScratchBuffer memory;
  Tensor codes, norms;

  EncodeScratch(Device& device, const Tensor& like_codes, const Tensor& like_norms)
      : codes(like_codes), norms(like_norms) {
    const uint64_t code_bytes = (static_cast<uint64_t>(codes.element_count()) + 15) / 16 * 16;
    const uint64_t norm_bytes = static_cast<uint64_t>(norms.element_count()) * size_of(norms.dtype);
    memory = ScratchBuffer(device, code_bytes + norm_bytes);
    codes.buffer = norms.buffer = memory.get();
    codes.byte_offset = 0;
    norms.byte_offset = code_bytes;
    set_contiguous_strides(codes);
    set_contiguous_strides(norms);
  }
};

/// Copies codes and norms on the host; the device must have finished.
void copy_vectors(const EncodeScratch& from, const Tensor& codes, const Tensor& norms) {
  const VectorTensor tensors[] = {{&codes, norms.rank}, {&norms, norms.rank}};
  const size_t code_bytes = static_cast<size_t>(codes.shape[static_cast<size_t>(codes.rank - 1)]);
  const size_t norm_bytes = size_of(norms.dtype);
  const char* from_codes = from.codes.data_as<char>();
  const char* from_norms = from.norms.data_as<char>();
  for_each_vector_block(tensors, [&](const VectorBlock& block) {
    for_each_vector_of(block, [&](const std::array<int64_t, kMaxVectorTensors>& at) {
      std::memcpy(codes.data_as<char>() + at[0], from_codes, code_bytes);
      std::memcpy(norms.data_as<char>() + at[1] * static_cast<int64_t>(norm_bytes), from_norms, norm_bytes);
      from_codes += code_bytes;
      from_norms += norm_bytes;
    });
  });
}

void launch_encode(Device& device, const Tensor& x, const TQFormat& format, const Tensor& codes,
                   const Tensor& norms, const Tensor& status) {
  const VectorTensor tensors[] = {{&x, norms.rank}, {&codes, norms.rank}, {&norms, norms.rank}};
  for_each_vector_block(tensors, [&](const VectorBlock& block) {
    VectorLaunch launch(kEncode, block, format.head_dim, signs_of_seed(format.seed, format.head_dim));
    launch.bind(kSlotInput, x, block, 0, launch.params.input_strides, Access::kRead);
    launch.bind(kSlotCodes, codes, block, 1, launch.params.code_strides, Access::kWrite);
    launch.bind(kSlotNorms, norms, block, 2, launch.params.norm_strides, Access::kWrite);
    launch.launch.bind(kSlotStatus, status, Access::kReadWrite);
    launch.launch.add_dtype(x.dtype);
    launch.launch.add_dtype(norms.dtype);
    launch.launch.constants.set_uint(kConstantBits, static_cast<uint32_t>(format.bits));
    launch.launch.constants.set_uint(kConstantNormKind, static_cast<uint32_t>(format.norm));
    launch.launch.constants.set_uint(kConstantSearchSteps, static_cast<uint32_t>(format.search));
    launch.run(device);
  });
}

void throw_status(int32_t status, DType norm_dtype) {
  if ((status & kStatusNotFinite) != 0) {
    throw ValueError(
        concat(kEncode,
               ": x must be finite, and so must the norm of every vector; got NaN, infinity or a norm "
               "beyond float32"));
  }
  if ((status & kStatusNormOverflow) != 0) {
    throw ValueError(concat(kEncode, ": norms must fit ", name_of(norm_dtype),
                            ", got one above 65504; use norm_dtype float32"));
  }
}

}  // namespace

void check_tq_encode(const Tensor& x, const TQFormat& format) {
  check_format(kEncode, format);
  if (x.rank < 1) throw ValueError(concat(kEncode, ": x must have at least one axis, got a scalar"));
  if (!is_floating(x.dtype)) {
    throw TypeError(concat(kEncode, ": x must be float32, float16 or bfloat16, got ", name_of(x.dtype)));
  }
  const int64_t dim = x.shape[static_cast<size_t>(x.rank - 1)];
  if (dim != format.head_dim) {
    throw ValueError(concat(kEncode, ": the last axis of x must be the format's head_dim, got ", dim, " and ",
                            format.head_dim));
  }
}

void check_tq_encode_out(const Tensor& x, const TQFormat& format, const Tensor& codes, const Tensor& norms) {
  check_packed(kEncode, "out's", codes, norms, format.bits, format.head_dim);
  if (norms.dtype != format.norm_dtype) {
    throw TypeError(concat(kEncode, ": out's norms must be the format's ", name_of(format.norm_dtype),
                           ", got ", name_of(norms.dtype)));
  }
  if (!std::equal(norms.shape.begin(), norms.shape.begin() + norms.rank, x.shape.begin()) ||
      norms.rank != x.rank - 1) {
    throw ValueError(concat(kEncode, ": out must hold one vector for each of x, got norms ",
                            shape_text(norms), " for x ", shape_text(x)));
  }
  check_distinct_addresses(kEncode, codes);
  check_distinct_addresses(kEncode, norms);
  if (overlaps(codes, x) || overlaps(norms, x) || overlaps(codes, norms)) {
    throw ValueError(concat(kEncode, ": out must not share memory with x, nor its codes with its norms"));
  }
}

void run_tq_encode(Device& device, const Tensor& x, const TQFormat& format, const Tensor& codes,
                   const Tensor& norms, bool keep_on_error) {
  if (x.element_count() == 0) return;
  const ScratchBuffer status_memory(device, sizeof(int32_t));
  Tensor status;
  status.buffer = status_memory.get();
  status.dtype = DType::kInt32;
  status.rank = 1;
  status.shape[0] = status.strides[0] = 1;
  *status.data_as<int32_t>() = 0;
  if (!keep_on_error) {
    launch_encode(device, x, format, codes, norms, status);
    device.wait();
    throw_status(*status.data_as<int32_t>(), norms.dtype);
    return;
  }
  const EncodeScratch scratch(device, codes, norms);
  launch_encode(device, x, format, scratch.codes, scratch.norms, status);
  device.wait();
  throw_status(*status.data_as<int32_t>(), norms.dtype);
  copy_vectors(scratch, codes, norms);
}

void run_tq_decode(Device& device, const Tensor& codes, const Tensor& norms, const TQFormat& format,
                   bool rotated, const Tensor& out) {
  if (out.element_count() == 0) return;
  const VectorTensor tensors[] = {{&out, norms.rank}, {&codes, norms.rank}, {&norms, norms.rank}};
  for_each_vector_block(tensors, [&](const VectorBlock& block) {
    VectorLaunch launch("tq_decode", block, format.head_dim, signs_of_seed(format.seed, format.head_dim));
    launch.bind(kSlotOutput, out, block, 0, launch.params.output_strides, Access::kWrite);
    launch.bind(kSlotCodes, codes, block, 1, launch.params.code_strides, Access::kRead);
    launch.bind(kSlotNorms, norms, block, 2, launch.params.norm_strides, Access::kRead);
    launch.launch.add_dtype(out.dtype);
    launch.launch.add_dtype(norms.dtype);
    launch.launch.constants.set_uint(kConstantBits, static_cast<uint32_t>(format.bits));
    launch.launch.constants.set_bool(kConstantInverse, !rotated);
    launch.run(device);
  });
}

}  // namespace metalhead
