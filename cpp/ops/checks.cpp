#include "ops/checks.h"

#include <algorithm>

#include "core/error.h"

namespace metalhead {

namespace {

std::string text_of(std::span<const int64_t> shape) {
  Tensor tensor;
  tensor.rank = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), tensor.shape.begin());
  return shape_text(tensor);
}

/// True if every index reaches an address of its own: each stride steps over all that smaller strides can
/// reach.
bool addresses_are_distinct(const Tensor& tensor) {
  int64_t reach = 0;
  uint32_t done = 0;
  for (int step = 0; step < tensor.rank; ++step) {
    int smallest = -1;
    for (int i = 0; i < tensor.rank; ++i) {
      const size_t axis = static_cast<size_t>(i);
      if ((done >> i & 1u) != 0 || tensor.shape[axis] <= 1) continue;
      if (smallest < 0 || tensor.strides[axis] < tensor.strides[static_cast<size_t>(smallest)]) smallest = i;
    }
    if (smallest < 0) return true;
    const size_t axis = static_cast<size_t>(smallest);
    if (tensor.strides[axis] <= reach) return false;
    reach += tensor.strides[axis] * (tensor.shape[axis] - 1);
    done |= 1u << smallest;
  }
  return true;
}

}  // namespace

void check_out(const char* op, const Tensor& out, std::span<const int64_t> shape) {
  const auto given = std::span(out.shape).first(static_cast<size_t>(out.rank));
  if (!std::equal(given.begin(), given.end(), shape.begin(), shape.end())) {
    throw ValueError(concat(op, ": out must have shape ", text_of(shape), ", got ", shape_text(out)));
  }
  if (!is_floating(out.dtype)) {
    throw TypeError(concat(op, ": out must be float32, float16 or bfloat16, got ", name_of(out.dtype)));
  }
  check_distinct_addresses(op, out);
}

void check_distinct_addresses(const char* op, const Tensor& out) {
  if (!addresses_are_distinct(out)) {
    throw ValueError(concat(op, ": out must not overlap itself, got strides that repeat addresses"));
  }
}

}  // namespace metalhead
