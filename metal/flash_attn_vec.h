// Attention for few query rows: a threadgroup streams one split of the keys of a KV head past all rows that
// share it.
//
// Grid: (splits, kv_heads, batch). Keys and values are read once for every 8 * ROW_BLOCKS rows.
#pragma once

#include "common/dense_sides.h"

constant bool kSplitOutput [[function_constant(kConstantSplitOutput)]];
constant bool kWritesOut = !kSplitOutput;
constant bool kWritesLse = kHasLse && !kSplitOutput;

template <typename T, int ROW_BLOCKS>
METAL_FUNC void attend_split(thread const AttentionShape& shape, thread const AttentionCall& call,
                             constant AttentionParams& params, device const T* key, device const T* value,
                             uint simdgroups, uint simdgroup, uint lane, threadgroup float* scratch) {
  typedef DenseSides<T, ROW_BLOCKS> Sides;
  const Sides sides = make_dense_sides<T, ROW_BLOCKS>(params, call, key, value);
  const Team team = make_team<ROW_BLOCKS>(shape, 8 * Sides::Keys::kCount, 4 * Sides::Values::kCount,
                                          simdgroups, simdgroup, lane);
  const KeyRange range = keys_of_split(params, call.sequence, call.split);
  const long rows = rows_of_kv_head(params);
  for (long first = 0; first < rows; first += 8 * ROW_BLOCKS * team.row_groups) {
    attend<ROW_BLOCKS>(shape, call, params, sides.keys, sides.values, team, first, range, params.scale,
                       scratch);
  }
}

template <typename T>
[[kernel]] void flash_attn_vec(
    device const uchar* query [[buffer(kSlotQuery)]], device const T* key [[buffer(kSlotKey)]],
    device const T* value [[buffer(kSlotValue)]],
    device uchar* out [[buffer(kSlotOut), function_constant(kWritesOut)]],
    device float* lse [[buffer(kSlotLse), function_constant(kWritesLse)]],
    device const uchar* mask [[buffer(kSlotMask), function_constant(kHasMask)]],
    device const float* alibi_slopes [[buffer(kSlotAlibiSlopes), function_constant(kHasAlibi)]],
    device const float* sinks [[buffer(kSlotSinks), function_constant(kHasSinks)]],
    device const int* kv_lengths [[buffer(kSlotKvLengths), function_constant(kHasKvLengths)]],
    device const int* ring_starts [[buffer(kSlotRingStarts), function_constant(kHasRingStarts)]],
    device float* partial_out [[buffer(kSlotPartialOut), function_constant(kSplitOutput)]],
    device float* partial_stats [[buffer(kSlotPartialStats), function_constant(kSplitOutput)]],
    constant AttentionParams& params [[buffer(kSlotParams)]], threadgroup float* scratch [[threadgroup(0)]],
    uint3 place [[threadgroup_position_in_grid]], uint simdgroups [[simdgroups_per_threadgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  AttentionShape shape = make_shape();
  shape.split_output = kSplitOutput;
  AttentionCall call = make_call(params, place, query, mask, alibi_slopes, kv_lengths, ring_starts);
  call.out = kWritesOut ? out : nullptr;
  call.lse = kWritesLse ? lse : nullptr;
  call.sinks = kHasSinks ? sinks : nullptr;
  call.partial_out = kSplitOutput ? partial_out : nullptr;
  call.partial_stats = kSplitOutput ? partial_stats : nullptr;
  if (kRowBlocks == 1) {
    attend_split<T, 1>(shape, call, params, key, value, simdgroups, simdgroup, lane, scratch);
  } else if (kRowBlocks == 2) {
    attend_split<T, 2>(shape, call, params, key, value, simdgroups, simdgroup, lane, scratch);
  } else {
    attend_split<T, 4>(shape, call, params, key, value, simdgroups, simdgroup, lane, scratch);
  }
}
