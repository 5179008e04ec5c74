// flash_attn_vec over packed keys and values: codes are expanded once for all rows that share a KV head, and
// the norm of a key multiplies its finished score.
//
// Grid: (splits, kv_heads, batch).
#pragma once

#include "common/packed_sides.h"

constant bool kSplitOutput [[function_constant(kConstantSplitOutput)]];
constant bool kWritesOut = !kSplitOutput;
constant bool kWritesLse = kHasLse && !kSplitOutput;

template <int ROW_BLOCKS>
METAL_FUNC void attend_packed_split(thread const AttentionShape& shape, thread const AttentionCall& call,
                                    constant AttentionParams& params, thread const PackedArrays& arrays,
                                    uint simdgroups, uint simdgroup, uint lane, threadgroup float* scratch) {
  const PackedSides<ROW_BLOCKS> sides = make_packed_sides<ROW_BLOCKS>(params, call, arrays);
  const Team team = make_packed_team<ROW_BLOCKS>(shape, sides, simdgroups, simdgroup, lane);
  const KeyRange range = keys_of_split(params, call.sequence, call.split);
  const long rows = rows_of_kv_head(params);
  for (long first = 0; first < rows; first += 8 * ROW_BLOCKS * team.row_groups) {
    attend<ROW_BLOCKS>(shape, call, params, sides.keys, sides.values, team, first, range,
                       packed_scale(params), scratch);
  }
}

[[kernel]] void tq_flash_attn_vec(
    device const uchar* query [[buffer(kSlotQuery)]], device const uchar* key [[buffer(kSlotKey)]],
    device const uchar* value [[buffer(kSlotValue)]],
    device uchar* out [[buffer(kSlotOut), function_constant(kWritesOut)]],
    device float* lse [[buffer(kSlotLse), function_constant(kWritesLse)]],
    device const uchar* mask [[buffer(kSlotMask), function_constant(kHasMask)]],
    device const float* alibi_slopes [[buffer(kSlotAlibiSlopes), function_constant(kHasAlibi)]],
    device const float* sinks [[buffer(kSlotSinks), function_constant(kHasSinks)]],
    device const int* kv_lengths [[buffer(kSlotKvLengths), function_constant(kHasKvLengths)]],
    device const int* ring_starts [[buffer(kSlotRingStarts), function_constant(kHasRingStarts)]],
    device const uchar* key_norms [[buffer(kSlotKeyNorms), function_constant(kHasKeyNorms)]],
    device const uchar* value_norms [[buffer(kSlotValueNorms), function_constant(kHasValueNorms)]],
    device float* partial_out [[buffer(kSlotPartialOut), function_constant(kSplitOutput)]],
    device float* partial_stats [[buffer(kSlotPartialStats), function_constant(kSplitOutput)]],
    constant AttentionParams& params [[buffer(kSlotParams)]], threadgroup float* scratch [[threadgroup(0)]],
    uint3 place [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  threadgroup float2 key_table[METALHEAD_TABLE_PAIRS];
  threadgroup float2 value_table[METALHEAD_TABLE_PAIRS];
  fill_table(key_table, kKeyBits, thread_index, 32 * simdgroups);
  fill_table(value_table, kValueBits, thread_index, 32 * simdgroups);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  AttentionShape shape = make_packed_shape();
  shape.split_output = kSplitOutput;
  AttentionCall call = make_call(params, place, query, mask, alibi_slopes, kv_lengths, ring_starts);
  call.out = kWritesOut ? out : nullptr;
  call.lse = kWritesLse ? lse : nullptr;
  call.sinks = kHasSinks ? sinks : nullptr;
  call.partial_out = kSplitOutput ? partial_out : nullptr;
  call.partial_stats = kSplitOutput ? partial_stats : nullptr;
  const PackedArrays arrays = {
      key,       value,      kHasKeyNorms ? key_norms : nullptr, kHasValueNorms ? value_norms : nullptr,
      key_table, value_table};
  if (kRowBlocks == 1) {
    attend_packed_split<1>(shape, call, params, arrays, simdgroups, simdgroup, lane, scratch);
  } else if (kRowBlocks == 2) {
    attend_packed_split<2>(shape, call, params, arrays, simdgroups, simdgroup, lane, scratch);
  } else {
    attend_packed_split<4>(shape, call, params, arrays, simdgroups, simdgroup, lane, scratch);
  }
}
