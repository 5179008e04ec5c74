#include "ops/hadamard.h"

#include "core/error.h"
#include "ops/checks.h"
#include "ops/vector_launch.h"

namespace metalhead {

namespace {

constexpr const char* kHadamard = "hadamard";

}  // namespace

void check_hadamard(const Tensor& x) {
  if (x.rank < 1) throw ValueError(concat(kHadamard, ": x must have at least one axis, got a scalar"));
  if (!is_floating(x.dtype)) {
    throw TypeError(concat(kHadamard, ": x must be float32, float16 or bfloat16, got ", name_of(x.dtype)));
  }
  check_rotated_dim(kHadamard, x.shape[static_cast<size_t>(x.rank - 1)]);
}

void check_hadamard_out(const Tensor& x, const Tensor& out) {
  check_out(kHadamard, out, {x.shape.data(), static_cast<size_t>(x.rank)});
  if (overlaps(x, out)) throw ValueError(concat(kHadamard, ": out must not share memory with x"));
}

void run_hadamard(Device& device, const Tensor& x, const std::optional<uint64_t>& seed, bool inverse,
                  const Tensor& out) {
  if (x.element_count() == 0) return;
  const int dim = static_cast<int>(x.shape[static_cast<size_t>(x.rank - 1)]);
  const VectorTensor tensors[] = {{&x, x.rank - 1}, {&out, x.rank - 1}};
  for_each_vector_block(tensors, [&](const VectorBlock& block) {
    VectorLaunch launch(kHadamard, block, dim, signs_of_seed(seed, dim));
    launch.bind(kSlotInput, x, block, 0, launch.params.input_strides, Access::kRead);
    launch.bind(kSlotOutput, out, block, 1, launch.params.output_strides, Access::kWrite);
    launch.launch.add_dtype(x.dtype);
    launch.launch.add_dtype(out.dtype);
    launch.launch.constants.set_bool(kConstantInverse, inverse);
    launch.run(device);
  });
}

}  // namespace metalhead
