// The codec's operations: vectors to packed codes with norms, and back.
#pragma once

#include "core/device.h"
#include "core/tensor.h"
#include "ops/tq_format.h"

namespace metalhead {

/// Checks x [..., head_dim], rank 1 to 5, against the format; throws ValueError or TypeError.
void check_tq_encode(const Tensor& x, const TQFormat& format);

/// Checks where the result goes: codes uint8 [..., head_dim * bits / 8] and norms [...], apart from x and
/// each other.
void check_tq_encode_out(const Tensor& x, const TQFormat& format, const Tensor& codes, const Tensor& norms);

/// Encodes and waits. If x or a norm is not finite, or a norm does not fit float16, throws ValueError;
/// `codes` and `norms` are untouched then if `keep_on_error`.
void run_tq_encode(Device& device, const Tensor& x, const TQFormat& format, const Tensor& codes,
                   const Tensor& norms, bool keep_on_error);

/// Writes vectors [..., head_dim] of any floating dtype; `rotated` leaves them in the rotated basis.
void run_tq_decode(Device& device, const Tensor& codes, const Tensor& norms, const TQFormat& format,
                   bool rotated, const Tensor& out);

}  // namespace metalhead
