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

/// True if every index reaches an address of its own: each stride steps over all that smaller strides can reach.
bool addresses_are_distinct(const Tensor& tensor) {
  std::array<std::pair<int64_t, int64_t>, kMaxRank> axes;  // stride, size
  size_t count = 0;
  for (size_t i = 0; i < static_cast<size_t>(tensor.rank); ++i) {
    if (tensor.shape[i] > 1) axes[count++] = {tensor.strides[i], tensor.shape[i]};
  }
  std::sort(axes.begin(), axes.begin() + static_cast<std::ptrdiff_t>(count));
  int64_t reach = 0;
  for (size_t i = 0; i < count; ++i) {
    if (axes[i].first <= reach) return false;
    reach += axes[i].first * (axes[i].second - 1);
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
