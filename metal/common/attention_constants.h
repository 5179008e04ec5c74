// Function constants of the attention kernels, and the structs that carry them into shared code.
#pragma once

#include "common/attend.h"
#include "params/function_constants.h"

constant uint kHeadDim [[function_constant(kConstantHeadDim)]];
constant uint kValueDim [[function_constant(kConstantValueDim)]];
constant uint kMaskKind [[function_constant(kConstantMaskKind)]];
constant bool kHasSoftcap [[function_constant(kConstantHasSoftcap)]];
constant bool kHasAlibi [[function_constant(kConstantHasAlibi)]];
constant bool kHasSinks [[function_constant(kConstantHasSinks)]];
constant bool kHasKvLengths [[function_constant(kConstantHasKvLengths)]];
constant bool kHasRing [[function_constant(kConstantHasRing)]];
constant bool kHasRingStarts [[function_constant(kConstantHasRingStarts)]];
constant bool kHasLse [[function_constant(kConstantHasLse)]];
constant uint kRowBlocks [[function_constant(kConstantRowBlocks)]];
constant uint kKeyGroups [[function_constant(kConstantKeyGroups)]];
constant uint kWideRows [[function_constant(kConstantWideRows)]];
constant uint kQueryType [[function_constant(kConstantDType0)]];
constant uint kOutType [[function_constant(kConstantDType3)]];
constant bool kHasMask = kMaskKind != kMaskNone;

/// The shape of a launch that neither splits keys nor rotates anything.
METAL_FUNC AttentionShape make_shape() {
  AttentionShape shape;
  shape.head_dim = int(kHeadDim);
  shape.value_dim = int(kValueDim);
  shape.key_groups = int(kKeyGroups);
  shape.query_type = kQueryType;
  shape.out_type = kOutType;
  shape.has_sinks = kHasSinks;
  shape.has_lse = kHasLse;
  shape.split_output = false;
  shape.rotate_query = false;
  shape.rotate_out = false;
  return shape;
}

METAL_FUNC Sequence make_sequence(constant AttentionParams& params, int batch, device const int* kv_lengths,
                                  device const int* ring_starts) {
  Sequence sequence;
  sequence.kv_length = kHasKvLengths ? kv_lengths[batch] : params.kv_length;
  sequence.ring_start = kHasRingStarts ? ring_starts[batch] : kHasRing ? params.ring_start : 0;
  sequence.wrap = kHasRing ? params.kv_capacity : INT_MAX;
  return sequence;
}

/// The call without its outputs; `place` is (split or row tile, KV head, batch).
METAL_FUNC AttentionCall make_call(constant AttentionParams& params, uint3 place, device const uchar* query,
                                   device const uchar* mask, device const float* alibi_slopes,
                                   device const int* kv_lengths, device const int* ring_starts) {
  AttentionCall call;
  call.sequence = make_sequence(params, int(place.z), kv_lengths, ring_starts);
  call.batch = int(place.z);
  call.kv_head = int(place.y);
  call.split = int(place.x);
  call.modifiers.mask_kind = kMaskKind;
  call.modifiers.has_softcap = kHasSoftcap;
  call.modifiers.has_alibi = kHasAlibi;
  call.modifiers.mask = kHasMask ? mask : nullptr;
  call.modifiers.alibi_slopes = kHasAlibi ? alibi_slopes : nullptr;
  call.query = query;
  call.out = nullptr;
  call.lse = nullptr;
  call.sinks = nullptr;
  call.partial_out = nullptr;
  call.partial_stats = nullptr;
  return call;
}

/// First element of a head in an array with these strides.
METAL_FUNC long head_offset(constant metalhead_long* strides, thread const AttentionCall& call) {
  return long(call.batch) * strides[0] + long(call.kv_head) * strides[1];
}

/// Keys of one split: an equal share of those that any row sees.
METAL_FUNC KeyRange keys_of_split(constant AttentionParams& params, thread const Sequence& sequence,
                                  int split) {
  KeyRange range = visible_keys(params, sequence, 0, params.query_length - 1);
  range.begin += split * params.keys_per_split;
  if (params.splits > 1) range.end = min(range.end, range.begin + params.keys_per_split);
  return range;
}

/// Query rows of all heads that share a KV head.
METAL_FUNC long rows_of_kv_head(constant AttentionParams& params) {
  return long(params.query_heads / params.kv_heads) * long(params.query_length);
}

/// First row of a tile of `sdpa`. The last rows see the most keys: they start first, so that threadgroups end
/// together.
METAL_FUNC long first_row_of_tile(constant AttentionParams& params, uint tile, uint tiles) {
  return long(tiles - 1 - tile) * long(params.rows_per_group);
}
