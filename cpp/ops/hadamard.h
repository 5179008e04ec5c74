// The standalone signed Walsh-Hadamard rotation and its inverse.
#pragma once

#include "core/device.h"
#include "core/tensor.h"
#include "ops/tq_format.h"

namespace metalhead {

/// Checks x [..., D], rank 1 to 5, D a power of two from 32 to 512; throws ValueError or TypeError.
void check_hadamard(const Tensor& x);

/// Checks `out`: the shape of x, a floating dtype, no memory shared with x.
void check_hadamard_out(const Tensor& x, const Tensor& out);

/// out = R x for every vector, or R^T x if `inverse`.
void run_hadamard(Device& device, const Tensor& x, const std::optional<uint64_t>& seed, bool inverse,
                  const Tensor& out);

}  // namespace metalhead
