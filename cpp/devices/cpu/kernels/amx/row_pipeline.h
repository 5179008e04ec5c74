// Attention of many rows to a tile of keys: while the vector units turn some scores into weights, the tile
// registers multiply the weights before them by values and compute the scores after them.
#pragma once

#include "devices/cpu/kernels/amx/row_weights.h"
#include "devices/cpu/kernels/row_block.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Rows of a row tile.
constexpr int kPipelineRows = 512;
static_assert(kStageKeys <= 2 * kPanelWidth, "a stage reads factors from any panel on");

/// A stage is kProductRows rows and kStageKeys keys, so few that scores, weights and sums stay in an L1 cache
/// from one stage of the same rows to the next. With kHasFactors, scores and weights are multiplied by the
/// factors of the tile's keys and values.
template <class ScoreParts, class ValueParts, bool kHasFactors>
class RowPipeline {
 public:
  /// Weights of n bfloat16 take n halves of a score's place.
  static constexpr int64_t kStride = kStageKeys / 2 * (ValueParts::kA > 2 ? ValueParts::kA : 2) + 16;
  /// One stage is being weighed, one multiplied by values; the next scores take the place of the latter.
  static constexpr int64_t kBuffers = 2;
  static constexpr int64_t kScoreFloats = kBuffers * kProductRows * kStride;

  METALHEAD_INLINE RowPipeline(TileRegisters& tiles, const RowBlock& block, int64_t first_key)
      : tiles_(tiles), block_(block), first_key_(first_key) {}

  /// The row tile that starts at row `first` against `count` keys.
  METALHEAD_INLINE void run(int first, int count) {
    next_row_ = first;
    end_row_ = static_cast<int>(smaller(first + kPipelineRows, block_.rows));
    key_count_ = count;
    Stage before{}, now = next_stage(), after = next_stage();
    auto scores = scores_of(now);
    scores.finish();
    while (before.rows + now.rows > 0) {
      run_stage(before, now, after);
      before = now;
      now = after;
      after = next_stage();
    }
  }

 private:
  /// Rows of the block and keys of the tile. A stage without rows is none.
  struct Stage {
    int first, rows, begin, end, buffer;
  };
  using Scores = PanelProducts<ScoreParts, Use::kOnce>;
  using Values = PanelProducts<ValueParts, Use::kAgain>;

  METALHEAD_INLINE Stage next_stage() {
    while (next_key_ >= seen_.end) {
      if (next_row_ >= end_row_) return {};
      first_row_ = next_row_;
      next_row_ = static_cast<int>(smaller(first_row_ + kProductRows, end_row_));
      seen_ = seen_keys(block_, first_row_, next_row_ - first_row_, first_key_, key_count_);
      next_key_ = seen_.begin;
    }
    const int begin = static_cast<int>(next_key_);
    next_key_ += kStageKeys;
    buffer_ = buffer_ == kBuffers - 1 ? 0 : buffer_ + 1;
    return {first_row_, next_row_ - first_row_, begin, static_cast<int>(smaller(next_key_, seen_.end)),
            buffer_};
  }

  METALHEAD_INLINE float* buffer(const Stage& at) const {
    return block_.scores + at.buffer * (kProductRows * kStride);
  }

  METALHEAD_INLINE Scores scores_of(const Stage& at) const {
    if (at.rows == 0) return Scores(tiles_);
    const int head_dim = block_.view->params->head_dim;
    const int64_t depth = block_.tile.depth, steps = steps_of(head_dim);
    const LeftFactor queries{as_pairs(block_.query + at.first * block_.tile.query_depth), kTileSide,
                             kProductRows * kTileSide, steps * kProductRows * kTileSide};
    const RightFactor keys{as_pairs(block_.keys + at.begin * depth), depth * kPanelWidth,
                           steps * kTileSide * kPanelWidth};
    return {tiles_, at.rows, queries, keys, {buffer(at), kStride, false}, head_dim, at.end - at.begin};
  }

  METALHEAD_INLINE Values values_of(const Stage& at) const {
    if (at.rows == 0) return Values(tiles_);
    const int64_t value_rows = block_.tile.value_rows;
    const LeftFactor weights{as_pairs(buffer(at)), kStride, ValueParts::kA * kTileSide, kTileSide};
    const RightFactor values{as_pairs(block_.values + at.begin / 2 * kPanelWidth), value_rows * kPanelWidth,
                             value_rows / ValueParts::kB * kPanelWidth};
    const bool is_first = first_key_ + at.begin <= block_.query_rows[at.first].visible.begin;
    const Sums sums{block_.sums + at.first * block_.sums_stride, block_.sums_stride, !is_first};
    return {tiles_, at.rows, weights, values, sums, at.end - at.begin, block_.view->params->value_dim};
  }

  /// Weighs a stage; between its rows, multiplies the one before by values and scores the one after.
  METALHEAD_INLINE void run_stage(const Stage& before, const Stage& now, const Stage& after) {
    Scores scores = scores_of(after);
    Values values = values_of(before);
    if (now.rows > 0) {
      if (before.rows == 0 || before.first != now.first) {
        weights_.begin(block_.maxima + now.first, block_.totals + now.first, now.rows);
      }
      weigh(now, scores, values);
      if (after.rows == 0 || after.first != now.first) weights_.end(now.rows);
    }
    values.finish();
    scores.finish();
  }

  METALHEAD_INLINE void weigh(const Stage& at, Scores& scores, Values& values) {
    StageScores tile{buffer(at), kStride, at.rows, block_.key_factors + at.begin,
                     block_.value_factors + at.begin};
    float factor = block_.view->params->scale;
    if (!(factor > 0.0f && factor < Weights::kMaxFactor) || at.end - at.begin < kStageKeys ||
        !has_final_scores(block_, at.first, at.rows, at.begin, at.end, first_key_)) {
      for (int i = 0; i < at.rows; ++i)
        finish_row(block_.query_rows[at.first + i], at, tile.at + i * kStride);
      tile.key_factors = kNoFactors.values;
      factor = 1.0f;
    }
    // In units of 2^-16, so that no turn divides.
    const int due_each = ((scores.portions_left() + values.portions_left()) << 16) / at.rows;
    int due = 0;
    const auto between = [&]() __attribute__((always_inline)) {
      due += due_each;
      if (values.portions_left() > 0) {
        values.advance(due >> 16);
      } else {
        scores.advance(due >> 16);
      }
      due &= 0xffff;
    };
    const auto shrink = [&](int row, float by) __attribute__((always_inline)) {
      // What is still to be added to the sums has weights of the old base.
      values.finish();
      float* sums = block_.sums + (at.first + row) * block_.sums_stride;
      for (int64_t i = 0; i < block_.view->params->value_dim; i += kLanes) {
        store(sums + i, load(sums + i) * splat(by));
      }
    };
    weights_.weigh(tile, factor, between, shrink);
  }

  /// Final scores; -inf past the last key.
  METALHEAD_INLINE void finish_row(const QueryRow& row, const Stage& at, float* scores) const {
    const F32 factor = splat(block_.view->params->scale);
    const int count = at.end - at.begin;
    for (int i = 0; i < count; i += kLanes) {
      F32 score = load(scores + i);
      if constexpr (kHasFactors) score = score * load(block_.key_factors + at.begin + i);
      store(scores + i, score * factor);
    }
    finish_scores(*block_.view, row, scores, 0, count, first_key_ + at.begin);
    for (int64_t i = round_up(count, kLanes); i < kStageKeys; i += kLanes) {
      store(scores + i, splat(kMinusInfinity));
    }
  }

  using Weights = RowWeights<ValueParts::kA, kHasFactors>;

  TileRegisters& tiles_;
  const RowBlock& block_;
  int64_t first_key_;
  int next_row_ = 0, end_row_ = 0, key_count_ = 0;
  int first_row_ = 0, buffer_ = 0;
  KeyRange seen_{0, 0};  ///< by the rows from first_row_ to next_row_
  int64_t next_key_ = 0;
  Weights weights_;
};

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
