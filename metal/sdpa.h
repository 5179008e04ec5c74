// Attention for many query rows: a threadgroup takes a tile of the rows that share a KV head, over all keys
// that they see.
//
// Grid: (tiles of rows_per_group rows, kv_heads, batch).
#pragma once

#include "common/dense_sides.h"

template <typename T, int ROW_BLOCKS>
METAL_FUNC void attend_tile(thread const AttentionShape& shape, thread const AttentionCall& call,
                            constant AttentionParams& params, device const T* key, device const T* value,
                            long first_row, uint simdgroups, uint simdgroup, uint lane,
                            threadgroup float* scratch) {
  typedef DenseSides<T, ROW_BLOCKS> Sides;
  const Sides sides = make_dense_sides<T, ROW_BLOCKS>(params, call, key, value);
  const Team team = make_team<ROW_BLOCKS>(shape, 8 * Sides::Keys::kCount, 4 * Sides::Values::kCount,
                                          simdgroups, simdgroup, lane);
  const KeyRange range = visible_to_rows(params, call.sequence, first_row, params.rows_per_group);
  attend<ROW_BLOCKS>(shape, call, params, sides.keys, sides.values, team, first_row, range, params.scale,
                     scratch);
}

template <typename T>
[[kernel]] void sdpa(
    device const uchar* query [[buffer(kSlotQuery)]], device const T* key [[buffer(kSlotKey)]],
    device const T* value [[buffer(kSlotValue)]], device uchar* out [[buffer(kSlotOut)]],
    device float* lse [[buffer(kSlotLse), function_constant(kHasLse)]],
    device const uchar* mask [[buffer(kSlotMask), function_constant(kHasMask)]],
    device const float* alibi_slopes [[buffer(kSlotAlibiSlopes), function_constant(kHasAlibi)]],
    device const float* sinks [[buffer(kSlotSinks), function_constant(kHasSinks)]],
    device const int* kv_lengths [[buffer(kSlotKvLengths), function_constant(kHasKvLengths)]],
    device const int* ring_starts [[buffer(kSlotRingStarts), function_constant(kHasRingStarts)]],
    constant AttentionParams& params [[buffer(kSlotParams)]], threadgroup float* scratch [[threadgroup(0)]],
    uint3 place [[threadgroup_position_in_grid]], uint3 grid [[threadgroups_per_grid]],
    uint simdgroups [[simdgroups_per_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  const AttentionShape shape = make_shape();
  AttentionCall call = make_call(params, place, query, mask, alibi_slopes, kv_lengths, ring_starts);
  call.out = out;
  call.lse = kHasLse ? lse : nullptr;
  call.sinks = kHasSinks ? sinks : nullptr;
  const long first_row = first_row_of_tile(params, place.x, grid.x);
  if (kRowBlocks == 1) {
    attend_tile<T, 1>(shape, call, params, key, value, first_row, simdgroups, simdgroup, lane, scratch);
  } else {
    attend_tile<T, 2>(shape, call, params, key, value, first_row, simdgroups, simdgroup, lane, scratch);
  }
}
