#include "bindings/copy.h"

#include <array>
#include <cstring>

namespace metalhead::python {

namespace {

/// Copies one row of `count` elements whose source elements are `stride` apart; the target's are neighbours.
void copy_row(const char* source, int64_t stride, char* target, int64_t count, uint64_t item) {
  if (stride == 1) {
    std::memcpy(target, source, static_cast<uint64_t>(count) * item);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(target + static_cast<uint64_t>(i) * item, source + i * stride * static_cast<int64_t>(item),
                item);
  }
}

}  // namespace

bool last_axis_is_contiguous(const Tensor& tensor) {
  if (tensor.rank == 0) return true;
  const size_t last = static_cast<size_t>(tensor.rank - 1);
  return tensor.shape[last] <= 1 || tensor.strides[last] == 1;
}

void copy_elements(const Tensor& from, const Tensor& to) {
  if (from.element_count() == 0) return;
  const int64_t item = size_of(from.dtype);
  const size_t last = static_cast<size_t>(from.rank - 1);
  std::array<int64_t, kMaxRank> index{};
  while (true) {
    int64_t source = 0, target = 0;
    for (size_t i = 0; i < last; ++i) {
      source += index[i] * from.strides[i];
      target += index[i] * to.strides[i];
    }
    copy_row(from.data_as<char>() + source * item, from.strides[last], to.data_as<char>() + target * item,
             from.shape[last], static_cast<uint64_t>(item));
    int axis = from.rank - 2;
    while (axis >= 0 && ++index[static_cast<size_t>(axis)] == from.shape[static_cast<size_t>(axis)]) {
      index[static_cast<size_t>(axis--)] = 0;
    }
    if (axis < 0) return;
  }
}

}  // namespace metalhead::python
