// Argument rules that several ops share.
#pragma once

#include <span>

#include "core/tensor.h"

namespace metalhead {

/// `out` must have exactly this shape, a floating dtype, and no two elements at one address.
void check_out(const char* op, const Tensor& out, std::span<const int64_t> shape);

/// `out` must have no two elements at one address.
void check_distinct_addresses(const char* op, const Tensor& out);

}  // namespace metalhead
