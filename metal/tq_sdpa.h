// sdpa over packed keys and values: each simdgroup expands codes straight into the matrices of its rows.
//
// Grid: (tiles of rows_per_group rows, kv_heads, batch).
#pragma once

#include "common/packed_sides.h"

template <int ROW_BLOCKS>
METAL_FUNC void attend_packed_tile(thread const AttentionShape& shape, thread const AttentionCall& call,
                                   constant AttentionParams& params, thread const PackedArrays& arrays,
                                   long first_row, uint simdgroups, uint simdgroup, uint lane,
                                   threadgroup float* scratch) {
  const PackedSides<ROW_BLOCKS> sides = make_packed_sides<ROW_BLOCKS>(params, call, arrays);
  const Team team = make_packed_team<ROW_BLOCKS>(shape, sides, simdgroups, simdgroup, lane);
  const KeyRange range = visible_to_rows(params, call.sequence, first_row, params.rows_per_group);
  attend<ROW_BLOCKS>(shape, call, params, sides.keys, sides.values, team, first_row, range,
                     packed_scale(params), scratch);
}

[[kernel]] void tq_sdpa(
    device const uchar* query [[buffer(kSlotQuery)]], device const uchar* key [[buffer(kSlotKey)]],
    device const uchar* value [[buffer(kSlotValue)]], device uchar* out [[buffer(kSlotOut)]],
    device float* lse [[buffer(kSlotLse), function_constant(kHasLse)]],
    device const uchar* mask [[buffer(kSlotMask), function_constant(kHasMask)]],
    device const float* alibi_slopes [[buffer(kSlotAlibiSlopes), function_constant(kHasAlibi)]],
    device const float* sinks [[buffer(kSlotSinks), function_constant(kHasSinks)]],
    device const int* kv_lengths [[buffer(kSlotKvLengths), function_constant(kHasKvLengths)]],
    device const int* ring_starts [[buffer(kSlotRingStarts), function_constant(kHasRingStarts)]],
    device const uchar* key_norms [[buffer(kSlotKeyNorms), function_constant(kHasKeyNorms)]],
    device const uchar* value_norms [[buffer(kSlotValueNorms), function_constant(kHasValueNorms)]],
    constant AttentionParams& params [[buffer(kSlotParams)]], threadgroup float* scratch [[threadgroup(0)]],
    uint3 place [[threadgroup_position_in_grid]], uint3 grid [[threadgroups_per_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint simdgroups [[simdgroups_per_threadgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup float2 key_table[METALHEAD_TABLE_PAIRS];
  threadgroup float2 value_table[METALHEAD_TABLE_PAIRS];
  fill_table(key_table, kKeyBits, thread_index, 32 * simdgroups);
  fill_table(value_table, kValueBits, thread_index, 32 * simdgroups);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const AttentionShape shape = make_packed_shape();
  AttentionCall call = make_call(params, place, query, mask, alibi_slopes, kv_lengths, ring_starts);
  call.out = out;
  call.lse = kHasLse ? lse : nullptr;
  call.sinks = kHasSinks ? sinks : nullptr;
  const PackedArrays arrays = {
      key,       value,      kHasKeyNorms ? key_norms : nullptr, kHasValueNorms ? value_norms : nullptr,
      key_table, value_table};
  const long first_row = first_row_of_tile(params, place.x, grid.x);
  if (kRowBlocks == 1) {
    attend_packed_tile<1>(shape, call, params, arrays, first_row, simdgroups, simdgroup, lane, scratch);
  } else {
    attend_packed_tile<2>(shape, call, params, arrays, first_row, simdgroups, simdgroup, lane, scratch);
  }
}
