// The kernel of the standalone signed Walsh-Hadamard rotation.
#include <cstdint>

#include "devices/cpu/kernel_table.h"
#include "devices/cpu/kernels/kernels.h"
#include "devices/cpu/kernels/simd.h"
#include "devices/cpu/kernels/tq_rotation.h"
#include "devices/cpu/kernels/tq_vectors.h"
#include "metal/params/codec_params.h"
#include "metal/params/function_constants.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

namespace {

template <class Input, class Output>
void rotate_groups(const Launch& launch, uint64_t begin, uint64_t end) {
  const CodecParams& p = launch.params<CodecParams>();
  const bool inverse = launch.constants[kConstantInverse] != 0;
  const int dim = p.head_dim;
  alignas(64) float factors[kMaxRotatedDim];
  alignas(64) float values[kMaxRotatedDim];
  expand_signs(p.signs, dim, factors);
  for_each_vector(launch, p, begin, end, [&](int64_t o, int64_t m, int64_t r) METALHEAD_LAMBDA_INLINE {
    const Input* input = launch.data<const Input>(kSlotInput) + offset_of(p.input_strides, o, m, r);
    Output* output = launch.data<Output>(kSlotOutput) + offset_of(p.output_strides, o, m, r);
    for (int j = 0; j < dim; j += kLanes) store(values + j, load(input + j));
    rotate_row(values, dim, factors, rotation_factor(dim), inverse);
    for (int j = 0; j < dim; j += kLanes) store(output + j, load(values + j));
  });
}

template <class Input>
void rotate_to(const Launch& launch, uint64_t begin, uint64_t end) {
  switch (launch.dtypes[1]) {
    case DType::kFloat16:
      return rotate_groups<Input, Float16>(launch, begin, end);
    case DType::kBFloat16:
      return rotate_groups<Input, BFloat16>(launch, begin, end);
    default:
      return rotate_groups<Input, float>(launch, begin, end);
  }
}

}  // namespace

void hadamard(const Launch& launch, uint64_t begin, uint64_t end, Scratch&) {
  switch (launch.dtypes[0]) {
    case DType::kFloat16:
      return rotate_to<Float16>(launch, begin, end);
    case DType::kBFloat16:
      return rotate_to<BFloat16>(launch, begin, end);
    default:
      return rotate_to<float>(launch, begin, end);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
