// Which keys a query row may see: the one place on the CPU that knows causality and windows.
#pragma once

#include "devices/cpu/kernels/attention_view.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Keys [begin, end) in chronological order; empty if end <= begin.
struct KeyRange {
  int64_t begin, end;
};

/// Position of a query row among the keys; negative if there are more rows than keys.
METALHEAD_INLINE int64_t position_of(const AttentionParams& params, const Sequence& sequence,
                                     int64_t query_row) {
  return sequence.kv_length - params.query_length + query_row;
}

/// Keys that some row of [first_row, last_row] sees: both ends grow with the row.
METALHEAD_INLINE KeyRange visible_keys(const AttentionParams& params, const Sequence& sequence,
                                       int64_t first_row, int64_t last_row) {
  const int64_t first = position_of(params, sequence, first_row),
                last = position_of(params, sequence, last_row);
  return {larger(0, first - params.window_left), smaller(sequence.kv_length, last + params.window_right + 1)};
}

METALHEAD_INLINE KeyRange visible_keys(const AttentionParams& params, const Sequence& sequence, int64_t row) {
  return visible_keys(params, sequence, row, row);
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
