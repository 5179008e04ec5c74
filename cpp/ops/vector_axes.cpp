#include "ops/vector_axes.h"

namespace metalhead {

namespace {

/// Sizes and strides of the leading axes, outermost first.
struct Axes {
  int count = 0;
  std::array<int64_t, kMaxRank> sizes{};
  std::array<std::array<int64_t, kMaxRank>, kMaxVectorTensors> strides{};
};

/// True if stepping over axis i is the same as running through all of axis i + 1, in every tensor.
bool can_fold(const Axes& axes, int i, size_t tensors) {
  const size_t a = static_cast<size_t>(i), b = a + 1;
  for (size_t t = 0; t < tensors; ++t) {
    if (axes.strides[t][a] != axes.strides[t][b] * axes.sizes[b]) return false;
  }
  return true;
}

void remove_axis(Axes& axes, int i, size_t tensors) {
  for (size_t a = static_cast<size_t>(i); a + 1 < static_cast<size_t>(axes.count); ++a) {
    axes.sizes[a] = axes.sizes[a + 1];
    for (size_t t = 0; t < tensors; ++t) axes.strides[t][a] = axes.strides[t][a + 1];
  }
  --axes.count;
}

/// The axes of size above 1, folded where memory allows.
Axes folded_axes(std::span<const VectorTensor> tensors) {
  Axes axes;
  for (int i = 0; i < tensors[0].axes; ++i) {
    const size_t from = static_cast<size_t>(i), to = static_cast<size_t>(axes.count);
    if (tensors[0].tensor->shape[from] == 1) continue;
    axes.sizes[to] = tensors[0].tensor->shape[from];
    for (size_t t = 0; t < tensors.size(); ++t) axes.strides[t][to] = tensors[t].tensor->strides[from];
    ++axes.count;
  }
  for (int i = axes.count - 2; i >= 0; --i) {
    if (!can_fold(axes, i, tensors.size())) continue;
    axes.sizes[static_cast<size_t>(i) + 1] *= axes.sizes[static_cast<size_t>(i)];
    remove_axis(axes, i, tensors.size());
  }
  return axes;
}

}  // namespace

void for_each_vector_block(std::span<const VectorTensor> tensors,
                           const std::function<void(const VectorBlock&)>& visit) {
  const Axes axes = folded_axes(tensors);
  VectorBlock block;
  const int loops = axes.count > 3 ? axes.count - 3 : 0;  // at most one: tensors have kMaxRank axes
  for (int i = loops; i < axes.count; ++i) {
    const size_t from = static_cast<size_t>(i), to = from + 3 - static_cast<size_t>(axes.count);
    block.sizes[to] = axes.sizes[from];
    for (size_t t = 0; t < tensors.size(); ++t) block.strides[t][to] = axes.strides[t][from];
  }
  for (int i = 0; i < axes.count; ++i) {
    if (axes.sizes[static_cast<size_t>(i)] == 0) return;
  }
  const int64_t repeats = loops > 0 ? axes.sizes[0] : 1;
  for (int64_t i = 0; i < repeats; ++i) {
    for (size_t t = 0; t < tensors.size(); ++t) block.offsets[t] = loops > 0 ? i * axes.strides[t][0] : 0;
    visit(block);
  }
}

}  // namespace metalhead
