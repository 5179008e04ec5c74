#include "ops/vector_launch.h"

#include <algorithm>

#include "core/error.h"

namespace metalhead {

namespace {

// Additions of the transform and comparisons of the quantiser, for each coordinate.
constexpr uint64_t kCostPerCoordinate = 16;

// Of a GPU's threadgroup; each handles a vector at a time.
constexpr uint32_t kSimdgroups = 8;

}  // namespace

VectorLaunch::VectorLaunch(const char* kernel, const VectorBlock& block, int head_dim,
                           const SignBits& signs) {
  const auto [outer, middle, rows] = block.sizes;
  if (rows > INT32_MAX || middle > INT32_MAX || outer > INT32_MAX) {
    throw ValueError(concat(kernel, ": an axis may hold at most ", INT32_MAX, " vectors, got ", outer, ", ",
                            middle, " and ", rows));
  }
  launch.kernel = kernel;
  params.outer = static_cast<int>(outer);
  params.middle = static_cast<int>(middle);
  params.rows = static_cast<int>(rows);
  params.head_dim = head_dim;
  std::copy(signs.begin(), signs.end(), params.signs);
  const int64_t groups = (rows + kVectorRowsPerGroup - 1) / kVectorRowsPerGroup;
  launch.grid = {static_cast<uint32_t>(groups), static_cast<uint32_t>(middle), static_cast<uint32_t>(outer)};
  launch.cost =
      static_cast<uint64_t>(outer * middle * rows) * static_cast<uint64_t>(head_dim) * kCostPerCoordinate;
}

void VectorLaunch::bind(int slot, const Tensor& tensor, const VectorBlock& block, size_t index,
                        metalhead_long (&strides)[3], Access access) {
  std::copy(block.strides[index].begin(), block.strides[index].end(), strides);
  launch.bind(slot, tensor, access);
  BufferBinding& binding = launch.buffers[static_cast<size_t>(slot)];
  const uint64_t skipped = static_cast<uint64_t>(block.offsets[index]) * size_of(tensor.dtype);
  binding.offset += skipped;
  binding.length -= skipped;
}

void VectorLaunch::run(Device& device) {
  const uint32_t lanes = device.limits().lanes;
  launch.threads = {lanes > 1 ? lanes * kSimdgroups : 1, 1, 1};
  launch.set_params(params);
  device.launch(launch);
}

}  // namespace metalhead
