// The inner loop of all attention kernels: keys and values stream past query rows that stay in registers.
//
// A simdgroup keeps queries, scores and output of 8 * ROW_BLOCKS rows in 8x8 matrices and streams keys and
// values from device memory straight into the other operand. Which key and which dim an element of a matrix
// stands for is free as long as both operands agree: each lane reads 16 neighbouring bytes, and the queries
// are laid out to match.
#pragma once

#include "common/scores.h"
#include "common/softmax.h"
#include "common/team.h"

/// State of a simdgroup; matrices [row block][column block], stats one for each row block.
template <int ROW_BLOCKS>
struct RowState {
  simdgroup_float8x8 query[METALHEAD_MATRICES];
  simdgroup_float8x8 sums[METALHEAD_MATRICES];
  ScoredRow rows[ROW_BLOCKS];
  RowStats stats[ROW_BLOCKS];  ///< maximum of the row; sum of this lane's columns alone
};

/// Scores of a step: [row block][tile of 8 keys].
struct StepScores {
  simdgroup_float8x8 tiles[METALHEAD_SCORE_MATRICES];
};

METAL_FUNC StepScores no_scores() {
  StepScores scores;
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_SCORE_MATRICES; ++i) {
    scores.tiles[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }
  return scores;
}

/// Sums that a score is made of: fewer roundings follow each other, and products need not wait for one
/// another.
template <int ROW_BLOCKS>
struct PartialScores {
  static constant constexpr int kParts = ROW_BLOCKS == 4 ? 2 : 4;
  static constant constexpr int kMatrices = ROW_BLOCKS * kParts;
  simdgroup_float8x8 sums[kMatrices];
};

/// q.k over the team column's dims for 8 keys: one matrix for each row block. `keys_end` is the first key not
/// to be read.
template <int ROW_BLOCKS, typename Keys>
METAL_FUNC void multiply_tile(thread PartialScores<ROW_BLOCKS>& parts,
                              thread const RowState<ROW_BLOCKS>& state, thread const Keys& keys,
                              thread const Team& team, thread const Sequence& sequence, int first,
                              int keys_end) {
  const int blocks = METALHEAD_MATRICES / ROW_BLOCKS, runs = blocks / Keys::kCount;
  const int count = PartialScores<ROW_BLOCKS>::kParts;
  const int key = first + matrix_column(team.lane);
  const int row_a = physical_row(sequence, key), row_b = physical_row(sequence, key + 1);
  METALHEAD_UNROLL for (int i = 0; i < ROW_BLOCKS * count; ++i) {
    parts.sums[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }
  METALHEAD_UNROLL for (int run = 0; run < runs; ++run) {
    if (run * 8 * keys.count() >= team.key_width) continue;
    const int dim = team.column * team.key_width + (8 * run + matrix_row(team.lane)) * keys.count();
    typename Keys::Run a, b;
    keys.load(a, row_a, dim, key < keys_end);
    keys.load(b, row_b, dim, key + 1 < keys_end);
    METALHEAD_UNROLL for (int t = 0; t < Keys::kCount / 2; ++t) {
      if (2 * t >= keys.count()) continue;
      const vec<typename Keys::Element, 2> x = keys.pair(a, t), y = keys.pair(b, t);
      simdgroup_matrix<typename Keys::Element, 8, 8> even, odd;
      even.thread_elements()[0] = x[0];
      even.thread_elements()[1] = y[0];
      odd.thread_elements()[0] = x[1];
      odd.thread_elements()[1] = y[1];
      METALHEAD_UNROLL for (int b8 = 0; b8 < ROW_BLOCKS; ++b8) {
        const int at = b8 * blocks + run * Keys::kCount + 2 * t, to = b8 * count + 2 * t % count;
        simdgroup_multiply_accumulate(parts.sums[to], state.query[at], even, parts.sums[to]);
        simdgroup_multiply_accumulate(parts.sums[to + 1], state.query[at + 1], odd, parts.sums[to + 1]);
      }
    }
  }
}

/// Scores of the keys [first, first + 8 * tiles).
template <int ROW_BLOCKS, typename Keys>
METAL_FUNC void multiply_keys(thread RowState<ROW_BLOCKS>& state, thread StepScores& scores,
                              thread const Keys& keys, thread const Team& team,
                              thread const Sequence& sequence, int first, int end) {
  const int tiles = METALHEAD_SCORE_MATRICES / ROW_BLOCKS, count = PartialScores<ROW_BLOCKS>::kParts;
  METALHEAD_UNROLL for (int tile = 0; tile < tiles; ++tile) {
    PartialScores<ROW_BLOCKS> parts;
    multiply_tile(parts, state, keys, team, sequence, first + 8 * tile, end);
    METALHEAD_UNROLL for (int b8 = 0; b8 < ROW_BLOCKS; ++b8) {
      METALHEAD_UNROLL for (int e = 0; e < 2; ++e) {
        float sums[count];
        METALHEAD_UNROLL for (int i = 0; i < count; ++i) sums[i] =
            parts.sums[b8 * count + i].thread_elements()[e];
        METALHEAD_UNROLL for (int i = 0; i < count / 2; ++i) sums[i] += sums[i + count / 2];
        scores.tiles[b8 * tiles + tile].thread_elements()[e] = count == 4 ? sums[0] + sums[1] : sums[0];
      }
    }
  }
}

/// sum = sum * shrink + part, where `rest` carries what the additions so far have rounded up; an infinite sum
/// has none.
METAL_FUNC void add_compensated(thread float& sum, thread float& rest, float shrink, float part) {
  const float before = sum * shrink, term = part - rest * shrink;
  sum = before + term;
  rest = isfinite(sum) ? (sum - before) - term : 0.0f;
}

/// What the sums of float values have rounded up. Narrower types round their results by far more.
template <typename Values>
struct SumRests {
  static constant constexpr bool kUsed = sizeof(typename Values::Element) == 4 && !Values::kHasNorms;
  static constant constexpr int kCount = kUsed ? METALHEAD_MATRICES : 1;
  simdgroup_float8x8 matrices[kCount];
};

/// Adds weights times values of the same keys to the output columns of the team column, after what was summed
/// up before shrinks. A step is summed up by itself first: few roundings follow each other in a long row.
template <int ROW_BLOCKS, typename Values>
METAL_FUNC void multiply_values(thread RowState<ROW_BLOCKS>& state, thread SumRests<Values>& rests,
                                thread const StepScores& weights, thread const float (&shrink)[ROW_BLOCKS],
                                thread const Values& values, thread const Team& team,
                                thread const Sequence& sequence, int first, int end) {
  const int tiles = METALHEAD_SCORE_MATRICES / ROW_BLOCKS, blocks = METALHEAD_MATRICES / ROW_BLOCKS;
  const int pairs = Values::kCount / 2, runs = blocks / pairs;
  int rows[tiles];
  METALHEAD_UNROLL for (int tile = 0; tile < tiles; ++tile) {
    rows[tile] = physical_row(sequence, first + 8 * tile + matrix_row(team.lane));
  }
  METALHEAD_UNROLL for (int run = 0; run < runs; ++run) {
    if (run * 4 * values.count() >= team.value_width) continue;
    const int dim =
        team.column * team.value_width + (4 * run + matrix_column(team.lane) / 2) * values.count();
    simdgroup_float8x8 parts[ROW_BLOCKS * pairs];
    METALHEAD_UNROLL for (int i = 0; i < ROW_BLOCKS * pairs; ++i) {
      parts[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
    }
    METALHEAD_UNROLL for (int tile = 0; tile < tiles; ++tile) {
      typename Values::Run a;
      values.load(a, rows[tile], dim, first + 8 * tile + matrix_row(team.lane) < end);
      METALHEAD_UNROLL for (int t = 0; t < pairs; ++t) {
        if (2 * t >= values.count()) continue;
        const vec<typename Values::Element, 2> x = values.pair(a, t);
        simdgroup_matrix<typename Values::Element, 8, 8> value;
        value.thread_elements()[0] = x[0];
        value.thread_elements()[1] = x[1];
        METALHEAD_UNROLL for (int b8 = 0; b8 < ROW_BLOCKS; ++b8) {
          thread simdgroup_float8x8& part = parts[b8 * pairs + t];
          simdgroup_multiply_accumulate(part, weights.tiles[b8 * tiles + tile], value, part);
        }
      }
    }
    METALHEAD_UNROLL for (int i = 0; i < ROW_BLOCKS * pairs; ++i) {
      const int at = i / pairs * blocks + run * pairs + i % pairs;
      thread auto& sum = state.sums[at].thread_elements();
      thread auto& rest = rests.matrices[SumRests<Values>::kUsed ? at : 0].thread_elements();
      METALHEAD_UNROLL for (int e = 0; e < 2; ++e) {
        const float part = parts[i].thread_elements()[e];
        float joined = sum[e], rounded = rest[e];
        if (SumRests<Values>::kUsed) {
          add_compensated(joined, rounded, shrink[i / pairs], part);
        } else {
          joined = fma(joined, shrink[i / pairs], part);
        }
        sum[e] = joined;
        rest[e] = rounded;
      }
    }
  }
}

/// Sums the scores that the columns of a team added up over their own dims; all of them get the same bits.
METAL_FUNC void exchange_scores(thread StepScores& scores, thread const Team& team,
                                threadgroup float* scratch) {
  threadgroup float2* parts = (threadgroup float2*)scratch;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_SCORE_MATRICES; ++i) {
    thread auto& mine = scores.tiles[i].thread_elements();
    parts[(team.simdgroup * METALHEAD_SCORE_MATRICES + i) * 32 + int(team.lane)] = float2(mine[0], mine[1]);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const int first = team.simdgroup - team.column;
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_SCORE_MATRICES; ++i) {
    float2 sum = float2(0.0f);
    for (int c = 0; c < team.columns; ++c)
      sum += parts[((first + c) * METALHEAD_SCORE_MATRICES + i) * 32 + int(team.lane)];
    scores.tiles[i].thread_elements()[0] = sum.x;
    scores.tiles[i].thread_elements()[1] = sum.y;
  }
}

/// Turns raw scores into weights under the rows' new maxima; what was summed up before is to shrink by
/// `shrink`.
template <int ROW_BLOCKS, typename Keys>
METAL_FUNC void weigh(thread RowState<ROW_BLOCKS>& state, thread StepScores& scores,
                      thread float (&shrink)[ROW_BLOCKS], thread const ScoreModifiers& modifiers,
                      constant AttentionParams& params, thread const Keys& keys, thread const Team& team,
                      thread const Sequence& sequence, int first, int end) {
  const int tiles = METALHEAD_SCORE_MATRICES / ROW_BLOCKS;
  float factors[2 * METALHEAD_SCORE_MATRICES];  // the scale, and the norms of packed keys
  METALHEAD_UNROLL for (int i = 0; i < 2 * tiles; ++i) {
    const int key = first + 8 * (i / 2) + matrix_column(team.lane) + i % 2;
    factors[i] = params.scale;
    if (Keys::kHasNorms && key < end) factors[i] *= keys.norm(physical_row(sequence, key));
  }
  METALHEAD_UNROLL for (int b8 = 0; b8 < ROW_BLOCKS; ++b8) {
    thread RowStats& stats = state.stats[b8];
    float top = stats.maximum;
    METALHEAD_UNROLL for (int i = 0; i < 2 * tiles; ++i) {
      const int key = first + 8 * (i / 2) + matrix_column(team.lane) + i % 2;
      thread auto& elements = scores.tiles[b8 * tiles + i / 2].thread_elements();
      const float score = finish_score(modifiers, params, state.rows[b8], elements[i % 2] * factors[i], key);
      elements[i % 2] = score;
      top = max(top, score);
    }
    top = row_max(top);
    shrink[b8] = weight_of(stats.maximum, top);
    stats.maximum = top;
    float sum = 0.0f;
    METALHEAD_UNROLL for (int i = 0; i < 2 * tiles; ++i) {
      thread auto& elements = scores.tiles[b8 * tiles + i / 2].thread_elements();
      const float weight = weight_of(elements[i % 2], top);
      elements[i % 2] = weight;
      sum += weight;
    }
    stats.sum = fma(stats.sum, shrink[b8], sum);
  }
}

/// Values that carry a norm are multiplied through the weights: one product a key, not one a coordinate.
template <int ROW_BLOCKS, typename Values>
METAL_FUNC void apply_value_norms(thread StepScores& weights, thread const Values& values,
                                  thread const Team& team, thread const Sequence& sequence, int first,
                                  int end) {
  const int tiles = METALHEAD_SCORE_MATRICES / ROW_BLOCKS;
  METALHEAD_UNROLL for (int i = 0; i < 2 * tiles; ++i) {
    const int key = first + 8 * (i / 2) + matrix_column(team.lane) + i % 2;
    const float norm = key < end ? values.norm(physical_row(sequence, key)) : 0.0f;
    METALHEAD_UNROLL for (int b8 = 0; b8 < ROW_BLOCKS; ++b8) {
      thread auto& elements = weights.tiles[b8 * tiles + i / 2].thread_elements();
      elements[i % 2] *= norm;
    }
  }
}

/// Streams the keys [range.begin, range.end) past the rows; `steps` is the same in the whole threadgroup.
template <int ROW_BLOCKS, typename Keys, typename Values>
METAL_FUNC void stream_keys(thread RowState<ROW_BLOCKS>& state, thread const ScoreModifiers& modifiers,
                            constant AttentionParams& params, thread const Keys& keys,
                            thread const Values& values, thread const Team& team,
                            thread const Sequence& sequence, KeyRange range, int key_groups, int steps,
                            threadgroup float* scratch) {
  const int step_keys = 8 * METALHEAD_SCORE_MATRICES / ROW_BLOCKS;
  SumRests<Values> rests;
  METALHEAD_UNROLL for (int i = 0; i < SumRests<Values>::kCount; ++i) {
    rests.matrices[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }
  for (int step = 0; step < steps; ++step) {
    const int first = range.begin + (step * key_groups + team.key_group) * step_keys;
    const bool has_keys = first < range.end;
    StepScores scores = no_scores();
    if (has_keys) multiply_keys(state, scores, keys, team, sequence, first, range.end);
    if (team.columns > 1) exchange_scores(scores, team, scratch);
    if (!has_keys) continue;
    float shrink[ROW_BLOCKS];
    weigh(state, scores, shrink, modifiers, params, keys, team, sequence, first, range.end);
    if (Values::kHasNorms) apply_value_norms<ROW_BLOCKS>(scores, values, team, sequence, first, range.end);
    multiply_values(state, rests, scores, shrink, values, team, sequence, first, range.end);
  }
}
