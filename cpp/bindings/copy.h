// Copies between strided tensors in host-visible memory.
#pragma once

#include "core/tensor.h"

namespace metalhead::python {

/// True if neighbours along the last axis are neighbours in memory.
bool last_axis_is_contiguous(const Tensor& tensor);

/// Copies between tensors of one shape and dtype; the target's last axis is contiguous.
void copy_elements(const Tensor& from, const Tensor& to);

}  // namespace metalhead::python
