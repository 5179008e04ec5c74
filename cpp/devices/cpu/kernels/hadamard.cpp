// The kernel of the standalone signed Walsh-Hadamard rotation.
#include <cstdint>

#include "devices/cpu/kernel_table.h"
#include "devices/cpu/kernels/simd.h"
#include "devices/cpu/kernels/tq_rotation.h"
#include "devices/cpu/kernels/tq_vectors.h"
#include "metal/params/codec_params.h"
#include "metal/params/function_constants.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

void hadamard(const Launch& launch, uint64_t begin, uint64_t end, Scratch&) {
  const CodecParams& p = params_of<CodecParams>(launch);
  const bool inverse = constant_of(launch, kConstantInverse) != 0;
  const int dim = p.head_dim;
  alignas(64) float factors[kMaxRotatedDim];
  alignas(64) float values[kMaxRotatedDim];
  expand_signs(p.signs, dim, factors);
  for_each_vector(launch, p, begin, end, [&](int64_t o, int64_t m, int64_t r) METALHEAD_LAMBDA_INLINE {
    with_storage(dtype_of(launch, 0), slot_data<const void>(launch, kSlotInput),
                 offset_of(p.input_strides, o, m, r), [&](const auto* from) METALHEAD_LAMBDA_INLINE {
                   for (int j = 0; j < dim; j += kLanes) store(values + j, load(from + j));
                 });
    rotate_row(values, dim, factors, rotation_factor(dim), inverse);
    with_storage(dtype_of(launch, 1), slot_data<void>(launch, kSlotOutput),
                 offset_of(p.output_strides, o, m, r), [&](auto* to) METALHEAD_LAMBDA_INLINE {
                   for (int j = 0; j < dim; j += kLanes) store(to + j, load(values + j));
                 });
  });
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
