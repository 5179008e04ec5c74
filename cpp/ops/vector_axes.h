// Addresses the vectors of several tensors alike as [outer, middle, rows], whatever their rank.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>

#include "core/tensor.h"

namespace metalhead {

constexpr int kMaxVectorTensors = 3;

/// One block of vectors: its sizes, and each tensor's place and strides in elements.
struct VectorBlock {
  std::array<int64_t, 3> sizes{1, 1, 1};
  std::array<std::array<int64_t, 3>, kMaxVectorTensors> strides{};
  std::array<int64_t, kMaxVectorTensors> offsets{};  ///< elements
};

/// A tensor and the number of its leading axes that count vectors; these sizes must be the same for all.
struct VectorTensor {
  const Tensor* tensor;
  int axes;
};

/// Calls `visit` for as few blocks as cover all vectors: one, unless four axes cannot be folded into three.
void for_each_vector_block(std::span<const VectorTensor> tensors,
                           const std::function<void(const VectorBlock&)>& visit);

}  // namespace metalhead
