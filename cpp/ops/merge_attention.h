// The merge operation: joins partial attention results over disjoint keys into the result over all of them.
#pragma once

#include <span>

#include "core/device.h"
#include "core/tensor.h"

namespace metalhead {

/// One partial result: `out` [B, Hq, Lq, Dv] (or rank 3) and `lse` float32 [B, Hq, Lq] contiguous, natural
/// logarithm.
struct AttentionPart {
  Tensor out;
  Tensor lse;
};

/// Checks shapes and dtypes of the parts; throws ValueError or TypeError.
void check_merge_attention(std::span<const AttentionPart> parts);

/// Checks `out` against the parts: shape, dtype, no shared memory.
void check_merge_attention_out(std::span<const AttentionPart> parts, const Tensor& out);

/// Writes the joined `out`, and `lse` (float32, contiguous) if it is defined.
void run_merge_attention(Device& device, std::span<const AttentionPart> parts, const Tensor& out,
                         const Tensor& lse);

}  // namespace metalhead
