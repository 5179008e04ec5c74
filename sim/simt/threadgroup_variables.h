// Threadgroup variables declared in kernel bodies.
#pragma once

#include <vector>

#include "simt_kernel_abi.h"

namespace metalhead::simt {

/// Returns the variables that belong to a kernel, in no particular order.
std::vector<const SimtThreadgroupVariable*> threadgroup_variables(const SimtKernel& kernel);

}  // namespace metalhead::simt
