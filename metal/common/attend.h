// Attention of a threadgroup's query rows over a range of keys, from loading the queries to writing the
// results.
#pragma once

#include "common/rotation.h"
#include "common/stream_keys.h"

/// One threadgroup's call: sequence, KV head and arrays. Pointers of options that are off are null.
struct AttentionCall {
  Sequence sequence;
  int batch;
  int kv_head;
  int split;
  ScoreModifiers modifiers;
  device const uchar* query;
  device uchar* out;
  device float* lse;
  device const float* sinks;
  device float* partial_out;
  device float* partial_stats;
};

/// Copies a query row, times `scale` and rotated if asked, to `to`; a row that is not there gives zeros.
METAL_FUNC void stage_query(thread const AttentionShape& shape, thread const AttentionCall& call,
                            constant AttentionParams& params, thread const QueryRow& place, float scale,
                            uint lane, threadgroup float* to) {
  const long at = long(call.batch) * params.query_strides[0] + long(place.head) * params.query_strides[1] +
                  long(place.row) * params.query_strides[2];
  if (!shape.rotate_query) {
    for (int j = int(lane); j < shape.head_dim; j += 32) {
      to[j] = place.present ? load_element(call.query, at + j, shape.query_type) * scale : 0.0f;
    }
    return;
  }
  const int count = shape.head_dim / 32;
  float values[METALHEAD_LANE_VALUES];
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
    const bool present = place.present && i < count;
    values[i] = present ? load_element(call.query, at + 32 * i + int(lane), shape.query_type) : 0.0f;
  }
  apply_signs(values, count, params.key_signs, lane);
  walsh_hadamard(values, count, lane);
  const float factor = scale * rotation_factor(uint(shape.head_dim));
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
    if (i < count) to[32 * i + int(lane)] = values[i] * factor;
  }
}

/// Takes the row block's matrices [8 rows][dims of the team column] in the order in which the keys' runs
/// come.
template <int ROW_BLOCKS, typename Keys>
METAL_FUNC void take_queries(thread RowState<ROW_BLOCKS>& state, int b8, thread const Keys& keys,
                             thread const Team& team, int head_dim, threadgroup const float* rows) {
  const int blocks = METALHEAD_MATRICES / ROW_BLOCKS;
  METALHEAD_UNROLL for (int i = 0; i < blocks; ++i) {
    const int run = i / Keys::kCount, f = i % Keys::kCount;
    METALHEAD_UNROLL for (int e = 0; e < 2; ++e) {
      const int within = (8 * run + matrix_column(team.lane) + e) * keys.count() + f;
      const int dim = team.column * team.key_width + within;
      const bool used = f < keys.count() && within < team.key_width && dim < head_dim;
      state.query[b8 * blocks + i].thread_elements()[e] =
          used ? rows[matrix_row(team.lane) * head_dim + dim] : 0.0f;
    }
  }
}

/// Loads the queries of all row groups through threadgroup memory, eight rows at a time.
template <int ROW_BLOCKS, typename Keys>
METAL_FUNC void load_queries(thread RowState<ROW_BLOCKS>& state, thread const AttentionShape& shape,
                             thread const AttentionCall& call, constant AttentionParams& params,
                             thread const Keys& keys, thread const Team& team, long first_row, float scale,
                             threadgroup float* scratch) {
  METALHEAD_UNROLL for (int b8 = 0; b8 < ROW_BLOCKS; ++b8) {
    for (int row_group = 0; row_group < team.row_groups; ++row_group) {
      const long first = first_row + 8 * (row_group * ROW_BLOCKS + b8);
      for (int r = team.simdgroup; r < 8; r += team.simdgroups) {
        const QueryRow place = query_row(params, call.sequence, call.kv_head, first + r);
        stage_query(shape, call, params, place, scale, team.lane, scratch + r * shape.head_dim);
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (row_group == team.row_group) take_queries(state, b8, keys, team, shape.head_dim, scratch);
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    const long mine = first_row + 8 * (team.row_group * ROW_BLOCKS + b8) + matrix_row(team.lane);
    state.rows[b8] =
        scored_row(call.modifiers, params, query_row(params, call.sequence, call.kv_head, mine), call.batch);
    state.stats[b8] = no_keys();
  }
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_MATRICES; ++i) {
    state.sums[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }
}

/// Keys that the row group of this simdgroup streams, within those of the split.
METAL_FUNC KeyRange keys_of_row_group(thread const AttentionCall& call, constant AttentionParams& params,
                                      long first, int rows, KeyRange split) {
  KeyRange range = visible_to_rows(params, call.sequence, first, rows);
  range.begin = max(range.begin, split.begin);
  range.end = min(range.end, split.end);
  return range;
}

/// Steps after which every simdgroup of the threadgroup has seen its keys.
METAL_FUNC int steps_of_threadgroup(thread const AttentionCall& call, constant AttentionParams& params,
                                    thread const Team& team, long first_row, int rows, KeyRange split,
                                    int keys_a_step) {
  int longest = 0;
  for (int row_group = 0; row_group < team.row_groups; ++row_group) {
    const KeyRange range = keys_of_row_group(call, params, first_row + row_group * rows, rows, split);
    longest = max(longest, range.end - range.begin);
  }
  return (longest + keys_a_step - 1) / keys_a_step;
}

/// Writes one finished row from its sums in threadgroup memory.
METAL_FUNC void write_row(thread const AttentionShape& shape, thread const AttentionCall& call,
                          constant AttentionParams& params, thread const QueryRow& place,
                          thread const RowStats& stats, uint lane, threadgroup const float* sums) {
  const long index = (long(call.batch) * params.query_heads + place.head) * params.query_length + place.row;
  if (shape.split_output) {
    const long slot = index * params.splits + call.split;
    if (lane == 0) {
      call.partial_stats[2 * slot] = stats.maximum;
      call.partial_stats[2 * slot + 1] = stats.sum;
    }
    if (stats.sum == 0.0f) return;
    for (int j = int(lane); j < shape.value_dim; j += 32)
      call.partial_out[slot * shape.value_dim + j] = sums[j];
    return;
  }
  const RowEnd end = shape.has_sinks ? end_of_row(stats, call.sinks[place.head]) : end_of_row(stats);
  if (shape.has_lse && lane == 0) call.lse[index] = end.lse;
  const long at = long(call.batch) * params.out_strides[0] + long(place.head) * params.out_strides[1] +
                  long(place.row) * params.out_strides[2];
  if (!shape.rotate_out) {
    for (int j = int(lane); j < shape.value_dim; j += 32) {
      store_element(call.out, at + j, shape.out_type, end.factor == 0.0f ? 0.0f : sums[j] * end.factor);
    }
    return;
  }
  const int count = shape.value_dim / 32;
  float values[METALHEAD_LANE_VALUES];
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
    values[i] = i < count && end.factor != 0.0f ? sums[32 * i + int(lane)] : 0.0f;
  }
  walsh_hadamard(values, count, lane);
  apply_signs(values, count, params.value_signs, lane);
  const float factor = end.factor * rotation_factor(uint(shape.value_dim));
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
    if (i < count) store_element(call.out, at + 32 * i + int(lane), shape.out_type, values[i] * factor);
  }
}

/// Stats of row r of the block in `stats` [key group][8].
METAL_FUNC RowStats joined_stats(threadgroup const float2* stats, int r, int key_groups) {
  RowStats all = no_keys();
  for (int g = 0; g < key_groups; ++g) {
    RowStats part;
    part.maximum = stats[8 * g + r].x;
    part.sum = stats[8 * g + r].y;
    all = join(all, part);
  }
  return all;
}

/// Adds this simdgroup's sums of a row block, under the joint maximum, to `rows` [8][value_dim]; the first
/// key group sets them.
template <int ROW_BLOCKS, typename Values>
METAL_FUNC void add_sums(thread const RowState<ROW_BLOCKS>& state, int b8, thread const Values& values,
                         thread const Team& team, int value_dim, float weight, threadgroup float* rows) {
  const int blocks = METALHEAD_MATRICES / ROW_BLOCKS, pairs = Values::kCount / 2;
  METALHEAD_UNROLL for (int i = 0; i < blocks; ++i) {
    const int run = i / pairs, t = i % pairs;
    const int within = (4 * run + matrix_column(team.lane) / 2) * values.count() + 2 * t;
    const bool used = 2 * t < values.count() && within < team.value_width;
    METALHEAD_UNROLL for (int e = 0; e < 2; ++e) {
      const int dim = team.column * team.value_width + within + e;
      if (!used || dim >= value_dim) continue;
      threadgroup float& sum = rows[matrix_row(team.lane) * value_dim + dim];
      const float value = weight * state.sums[b8 * blocks + i].thread_elements()[e];
      sum = team.key_group == 0 ? value : sum + value;
    }
  }
}

/// Joins the key groups and writes all rows, eight at a time through threadgroup memory.
template <int ROW_BLOCKS, typename Values>
METAL_FUNC void write_rows(thread RowState<ROW_BLOCKS>& state, thread const AttentionShape& shape,
                           thread const AttentionCall& call, constant AttentionParams& params,
                           thread const Values& values, thread const Team& team, long first_row,
                           threadgroup float* scratch) {
  threadgroup float2* stats = (threadgroup float2*)scratch;
  threadgroup float* rows = scratch + 16 * shape.key_groups;
  METALHEAD_UNROLL for (int b8 = 0; b8 < ROW_BLOCKS; ++b8) {
    const float sum = row_sum(state.stats[b8].sum);
    for (int row_group = 0; row_group < team.row_groups; ++row_group) {
      const bool mine = row_group == team.row_group;
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (mine && team.column == 0 && matrix_column(team.lane) == 0) {
        stats[8 * team.key_group + matrix_row(team.lane)] = float2(state.stats[b8].maximum, sum);
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      const RowStats all = joined_stats(stats, matrix_row(team.lane), shape.key_groups);
      const float weight = sum == 0.0f ? 0.0f : weight_of(state.stats[b8].maximum, all.maximum);
      for (int key_group = 0; key_group < shape.key_groups; ++key_group) {
        if (mine && key_group == team.key_group)
          add_sums(state, b8, values, team, shape.value_dim, weight, rows);
        threadgroup_barrier(mem_flags::mem_threadgroup);
      }
      const long first = first_row + 8 * (row_group * ROW_BLOCKS + b8);
      for (int r = team.simdgroup; r < 8; r += team.simdgroups) {
        const QueryRow place = query_row(params, call.sequence, call.kv_head, first + r);
        if (!place.present) continue;
        const RowStats joined = joined_stats(stats, r, shape.key_groups);
        write_row(shape, call, params, place, joined, team.lane, rows + r * shape.value_dim);
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

/// Everything for the rows [first_row, first_row + 8 * ROW_BLOCKS * row groups) over the keys of `split`.
/// `scale` is what the queries are multiplied by.
template <int ROW_BLOCKS, typename Keys, typename Values>
METAL_FUNC void attend(thread const AttentionShape& shape, thread const AttentionCall& call,
                       constant AttentionParams& params, thread const Keys& keys, thread const Values& values,
                       thread const Team& team, long first_row, KeyRange split, float scale,
                       threadgroup float* scratch) {
  const int rows = 8 * ROW_BLOCKS;
  const int keys_a_step = 8 * METALHEAD_SCORE_MATRICES / ROW_BLOCKS * shape.key_groups;
  RowState<ROW_BLOCKS> state;
  load_queries(state, shape, call, params, keys, team, first_row, scale, scratch);
  const KeyRange range = keys_of_row_group(call, params, first_row + team.row_group * rows, rows, split);
  METALHEAD_UNROLL for (int b8 = 0; b8 < ROW_BLOCKS; ++b8) {
    // Keys past the split are visible, but were not loaded.
    state.rows[b8].place.visible.end = min(state.rows[b8].place.visible.end, range.end);
  }
  const int steps = steps_of_threadgroup(call, params, team, first_row, rows, split, keys_a_step);
  stream_keys(state, call.modifiers, params, keys, values, team, call.sequence, range, shape.key_groups,
              steps, scratch);
  write_rows(state, shape, call, params, values, team, first_row, scratch);
}
