// Joins the partial results of splits: one threadgroup for each output row.
//
// Grid: (query_length, query_heads, batch). Simdgroups share the splits, at most METALHEAD_REDUCE_SIMDGROUPS
// of them.
#pragma once

#include "common/rotation.h"
#include "common/softmax.h"
#include "common/storage.h"
#include "params/attention_params.h"

#define METALHEAD_REDUCE_SIMDGROUPS 4
/// Columns of the longest row, and how many of them a lane holds.
#define METALHEAD_ROW_COLUMNS 576
#define METALHEAD_ROW_VALUES 18

constant uint kValueDim [[function_constant(kConstantValueDim)]];
constant bool kHasSinks [[function_constant(kConstantHasSinks)]];
constant bool kHasLse [[function_constant(kConstantHasLse)]];
constant bool kRotateOut [[function_constant(kConstantRotateOut)]];
constant uint kOutType [[function_constant(kConstantDType0)]];

/// Largest maximum of the row's splits that saw a key.
METAL_FUNC float largest_maximum(device const float* stats, int splits, uint thread_index, uint threads) {
  float largest = -INFINITY;
  for (int s = int(thread_index); s < splits; s += int(threads)) {
    if (stats[2 * s + 1] != 0.0f) largest = max(largest, stats[2 * s]);
  }
  return largest;
}

/// Adds the splits of this simdgroup, 32 of them at a time, to `values`; returns this lane's part of their
/// sums.
METAL_FUNC float add_splits(thread float (&values)[METALHEAD_ROW_VALUES], device const float* stats,
                            device const float* parts, int splits, float maximum, int simdgroups,
                            int simdgroup, uint lane) {
  float sum = 0.0f;
  for (int first = simdgroup; first < splits; first += 32 * simdgroups) {
    const int mine = first + int(lane) * simdgroups;
    float weight = 0.0f;
    if (mine < splits && stats[2 * mine + 1] != 0.0f) {
      weight = weight_of(stats[2 * mine], maximum);
      sum += weight * stats[2 * mine + 1];
    }
    for (ushort other = 0; other < 32; ++other) {
      const int split = first + other * simdgroups;
      if (split >= splits) break;
      const float shared_weight = simd_shuffle(weight, other);
      if (shared_weight == 0.0f) continue;
      METALHEAD_UNROLL for (int i = 0; i < METALHEAD_ROW_VALUES; ++i) {
        const int column = 32 * i + int(lane);
        if (column < int(kValueDim))
          values[i] += shared_weight * parts[long(split) * long(kValueDim) + column];
      }
    }
  }
  return sum;
}

/// Writes the row, whose sums are in `values`, from one simdgroup.
METAL_FUNC void write_joined(thread float (&values)[METALHEAD_ROW_VALUES], device uchar* out, long at,
                             float factor, constant ReduceParams& params, uint lane) {
  if (kRotateOut) {
    const int count = int(kValueDim) / 32;
    float row[METALHEAD_LANE_VALUES];
    METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) row[i] = values[i];
    walsh_hadamard(row, count, lane);
    apply_signs(row, count, params.value_signs, lane);
    METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) values[i] = row[i];
    factor *= rotation_factor(kValueDim);
  }
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_ROW_VALUES; ++i) {
    const int column = 32 * i + int(lane);
    if (column < int(kValueDim)) store_element(out, at + column, kOutType, values[i] * factor);
  }
}

[[kernel]] void flash_attn_vec_reduce(
    device uchar* out [[buffer(kSlotOut)]],
    device float* lse [[buffer(kSlotLse), function_constant(kHasLse)]],
    device const float* sinks [[buffer(kSlotSinks), function_constant(kHasSinks)]],
    device const float* partial_out [[buffer(kSlotPartialOut)]],
    device const float* partial_stats [[buffer(kSlotPartialStats)]],
    constant ReduceParams& params [[buffer(kSlotParams)]], uint3 place [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint simdgroups [[simdgroups_per_threadgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup float maxima[METALHEAD_REDUCE_SIMDGROUPS];
  threadgroup float totals[METALHEAD_REDUCE_SIMDGROUPS];
  threadgroup float parts[METALHEAD_REDUCE_SIMDGROUPS][METALHEAD_ROW_COLUMNS];
  const long index = (long(place.z) * params.query_heads + place.y) * params.query_length + place.x;
  device const float* stats = partial_stats + 2 * index * params.splits;
  const float mine = simd_max(largest_maximum(stats, params.splits, thread_index, 32 * simdgroups));
  if (lane == 0) maxima[simdgroup] = mine;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  RowStats joined = no_keys();
  for (uint g = 0; g < simdgroups; ++g) joined.maximum = max(joined.maximum, maxima[g]);

  float values[METALHEAD_ROW_VALUES];
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_ROW_VALUES; ++i) values[i] = 0.0f;
  device const float* rows = partial_out + index * params.splits * long(kValueDim);
  const float total = simd_sum(
      add_splits(values, stats, rows, params.splits, joined.maximum, int(simdgroups), int(simdgroup), lane));
  if (lane == 0) totals[simdgroup] = total;
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_ROW_VALUES; ++i) parts[simdgroup][32 * i + int(lane)] =
      values[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (simdgroup != 0) return;

  for (uint g = 0; g < simdgroups; ++g) joined.sum += totals[g];
  for (uint g = 1; g < simdgroups; ++g) {
    METALHEAD_UNROLL for (int i = 0; i < METALHEAD_ROW_VALUES; ++i) values[i] += parts[g][32 * i + int(lane)];
  }
  const RowEnd end = kHasSinks ? end_of_row(joined, sinks[place.y]) : end_of_row(joined);
  const long at = long(place.z) * params.out_strides[0] + long(place.y) * params.out_strides[1] +
                  long(place.x) * params.out_strides[2];
  write_joined(values, out, at, end.factor, params, lane);
  if (kHasLse && lane == 0) lse[index] = end.lse;
}
