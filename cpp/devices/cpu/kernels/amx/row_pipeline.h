// Attention of many rows to a tile of keys: while the vector units turn the scores of some rows into weights,
// the tile registers compute the weighted values of the rows before and the scores of the rows after them.
#pragma once

#include "devices/cpu/kernels/amx/tile_product.h"
#include "devices/cpu/kernels/row_block.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Rows of a row tile, and how many rows of products they are.
constexpr int kPipelineRows = 512, kMaxStages = kPipelineRows / kProductRows;

/// Scores and weights of kProductRows rows. Weights replace scores; those of `parts` bfloat16 take as many
/// halves of a score's place.
METALHEAD_INLINE constexpr int64_t weight_stride(int parts) {
  return kMaxTileKeys / 2 * (parts > 2 ? parts : 2) + 16;
}

template <class ScoreParts, class ValueParts>
class RowPipeline {
 public:
  /// Buffers of scores: one is being computed, one weighed, one multiplied by values.
  static constexpr int64_t kBuffers = 3;
  static constexpr int64_t kStride = weight_stride(ValueParts::kA);
  static constexpr int64_t kBufferFloats = kProductRows * kStride;
  static constexpr int64_t kScoreFloats = kBuffers * kBufferFloats;
  /// Two buffers of weighted values: one is being computed, one added to the sums.
  METALHEAD_INLINE static int64_t product_floats(int64_t value_dim) {
    return 2 * kProductRows * product_stride(value_dim);
  }

  /// `products` holds product_floats(value_dim).
  METALHEAD_INLINE RowPipeline(TileRegisters& tiles, const RowBlock& block, float* products,
                               int64_t first_key)
      : tiles_(tiles),
        block_(block),
        products_(products),
        product_stride_(product_stride(block.view->params->value_dim)),
        first_key_(first_key) {}

  /// The row tile that starts at row `first` against `count` keys.
  METALHEAD_INLINE void run(int first, int count) {
    const int end = static_cast<int>(smaller(first + kPipelineRows, block_.rows));
    for (int row = first; row < end; row += kProductRows) {
      const int rows = static_cast<int>(smaller(kProductRows, end - row));
      const KeyRange seen = seen_keys(block_, row, rows, first_key_, count);
      if (seen.end == 0) continue;
      stages_[stage_count_++] = {row, rows, static_cast<int>(seen.begin), static_cast<int>(seen.end)};
    }
    if (stage_count_ == 0) return;
    auto scores = scores_of(0);
    scores.advance(scores.portions_left(), [&](int panel) { scores.write(score_panel(0, panel), kStride); });
    for (int stage = 0; stage <= stage_count_ + 1; ++stage) run_stage(stage);
  }

 private:
  struct Stage {
    int first, rows, begin, end;  ///< rows of the block, keys of the tile
  };

  METALHEAD_INLINE float* buffer(int stage) const { return block_.scores + stage % kBuffers * kBufferFloats; }
  METALHEAD_INLINE float* score_panel(int stage, int panel) const {
    return buffer(stage) + stages_[stage].begin + panel * kPanelWidth;
  }
  METALHEAD_INLINE int32_t* weights(int stage, int key) const {
    return as_pairs(buffer(stage)) + key / 2 * ValueParts::kA;
  }
  /// Rows of one column fall into different cache sets.
  METALHEAD_INLINE static int64_t product_stride(int64_t value_dim) {
    return round_up(value_dim, kPanelWidth) + 16;
  }
  METALHEAD_INLINE float* product(int stage) const {
    return products_ + stage % 2 * (kProductRows * product_stride_);
  }

  METALHEAD_INLINE PanelProducts<ScoreParts> scores_of(int stage) const {
    const Stage& at = stages_[stage];
    const int head_dim = block_.view->params->head_dim;
    const int64_t depth = block_.tile.depth, steps = steps_of(head_dim);
    const LeftFactor queries{as_pairs(block_.query + at.first * depth), kTileSide, kProductRows * kTileSide,
                             steps * kProductRows * kTileSide};
    const RightFactor keys{as_pairs(block_.keys + at.begin * depth), depth * kPanelWidth,
                           steps * kTileSide * kPanelWidth};
    return {tiles_, at.rows, queries, keys, head_dim, at.end - at.begin};
  }

  METALHEAD_INLINE PanelProducts<ValueParts> values_of(int stage) const {
    const Stage& at = stages_[stage];
    const int64_t value_rows = block_.tile.value_rows;
    const LeftFactor factors{weights(stage, at.begin), kStride, ValueParts::kA * kTileSide, kTileSide};
    const RightFactor values{as_pairs(block_.values + at.begin / 2 * kPanelWidth), value_rows * kPanelWidth,
                             value_rows / ValueParts::kB * kPanelWidth};
    return {tiles_, at.rows, factors, values, at.end - at.begin, block_.view->params->value_dim};
  }

  /// Weighs the rows of a stage; between them, multiplies the stage before by values, computes the scores of
  /// the next, and adds the products of the one before the last to the sums.
  METALHEAD_INLINE void run_stage(int stage) {
    const bool weighs = stage < stage_count_, has_next = stage + 1 < stage_count_;
    const bool multiplies = stage > 0 && stage <= stage_count_;
    auto values = values_of(multiplies ? stage - 1 : 0);
    auto scores = scores_of(has_next ? stage + 1 : 0);
    const int of_values = multiplies ? values.portions_left() : 0;
    const int portions = of_values + (has_next ? scores.portions_left() : 0);
    int taken = 0;
    const auto advance_to = [&](int target) __attribute__((noinline)) {
      if (taken < of_values) {
        values.advance(target - taken, [&](int panel) {
          values.write(product(stage - 1) + panel * kPanelWidth, product_stride_);
        });
      }
      if (target > of_values) {
        scores.advance(target - (taken < of_values ? of_values : taken),
                       [&](int panel) { scores.write(score_panel(stage + 1, panel), kStride); });
      }
      taken = target;
    };
    int added = 0;
    if (weighs) {
      // In units of 2^-16, so that no turn divides.
      const int64_t portions_of_turn = (int64_t{portions} << 16) / turns_of(stages_[stage]);
      int64_t due = 0;
      weigh(stage, [&](int row) __attribute__((always_inline)) {
        advance_to(static_cast<int>((due += portions_of_turn) >> 16));
        if (stage >= 2 && added <= row && added < stages_[stage - 2].rows) add_product(stage - 2, added++);
      });
    }
    for (; stage >= 2 && added < stages_[stage - 2].rows; ++added) add_product(stage - 2, added);
    advance_to(portions);
  }

  /// Adds the weighted values of a row to what it has summed up.
  METALHEAD_INLINE void add_product(int stage, int row) const {
    const float* from = product(stage) + row * product_stride_;
    float* to = block_.sums + (stages_[stage].first + row) * block_.sums_stride;
    const F32 factor = splat(shrink_[stage % 3][row]);
    for (int64_t i = 0; i < block_.view->params->value_dim; i += kLanes) {
      store(to + i, fma(load(to + i), factor, load(from + i)));
    }
  }

  /// Scores of a stage become weights; `between(row)` is called turns_of(stage) times.
  template <class Between>
  METALHEAD_INLINE void weigh(int stage, Between between) {
    const Stage& at = stages_[stage];
    float* scores = buffer(stage);
    F32 factor = splat(block_.view->params->scale);
    if (!has_final_scores(block_, at.first, at.rows, at.begin, at.end, first_key_)) {
      for (int i = 0; i < at.rows; ++i) {
        finish_row(block_.query_rows[at.first + i], at, scores + i * kStride);
      }
      factor = splat(1.0f);
    }
    for (int first = 0; first < at.rows; first += kLanes) {
      const int rows = static_cast<int>(smaller(kLanes, at.rows - first));
      const int row = at.first + first;
      softmax_rows(
          scores + first * kStride, kStride, rows, at.begin, at.end,
          [&](F32 score) __attribute__((always_inline)) { return score * factor; }, block_.maxima + row,
          block_.totals + row, shrink_[stage % 3] + first,
          [&](int i, F32 base)
              __attribute__((always_inline)) { return weigh_row(stage, first + i, factor, base, between); });
    }
  }

  METALHEAD_INLINE void finish_row(const QueryRow& row, const Stage& at, float* scores) const {
    const F32 factor = splat(block_.view->params->scale);
    for (int i = at.begin; i < at.end; i += kLanes) store(scores + i, load(scores + i) * factor);
    finish_scores(*block_.view, row, scores, at.begin, at.end, first_key_);
  }

  /// How often `weigh` lets other work go on.
  METALHEAD_INLINE static int turns_of(const Stage& at) {
    const int steps = (at.end - at.begin + kLanes - 1) / kStepRows, rest = (at.end - at.begin) % kStepRows;
    return at.rows * ((steps + 1) / 2 + (rest > 0 && rest <= kLanes ? 1 : 0));
  }

  /// The weights of a row, exp(factor * score - base), in place of its scores; returns their sums by lane.
  template <class Between>
  METALHEAD_INLINE F32 weigh_row(int stage, int row, F32 factor, F32 base, Between between) const {
    const Stage& at = stages_[stage];
    const float* scores = buffer(stage) + row * kStride;
    int32_t* to = weights(stage, 0) + row * kStride;
    F32 sum = zero();
    // Three parts take more room than scores: from the last step on, none is overwritten before its turn.
    int step = (at.end - 1) / kStepRows * kStepRows;
    if (step + kLanes >= at.end) {
      F32 weight[1] = {fma(load(scores + step), factor, zero() - base)};
      exp_each(weight);
      sum = weight[0];
      store_parts<ValueParts::kA>(weight[0], zero(), to + step / 2 * ValueParts::kA, kTileSide);
      between(row);
      step -= kStepRows;
    }
    for (; step > at.begin; step -= 2 * kStepRows) {
      sum = sum + weigh_steps<2>(scores + step - kStepRows, factor, base,
                                 to + (step - kStepRows) / 2 * ValueParts::kA);
      between(row);
    }
    if (step == at.begin) {
      sum = sum + weigh_steps<1>(scores + step, factor, base, to + step / 2 * ValueParts::kA);
      between(row);
    }
    return sum;
  }

  template <int kSteps>
  METALHEAD_INLINE static F32 weigh_steps(const float* scores, F32 factor, F32 base, int32_t* to) {
    F32 weights[2 * kSteps];
    METALHEAD_UNROLL
    for (int i = 0; i < 2 * kSteps; ++i) {
      weights[i] = fma(load(scores + i * kLanes), factor, zero() - base);
    }
    exp_each(weights);
    F32 sum = zero();
    METALHEAD_UNROLL
    for (int i = 0; i < kSteps; ++i) {
      sum = sum + (weights[2 * i] + weights[2 * i + 1]);
      store_parts<ValueParts::kA>(weights[2 * i], weights[2 * i + 1], to + i * ValueParts::kA * kTileSide,
                                  kTileSide);
    }
    return sum;
  }

  TileRegisters& tiles_;
  const RowBlock& block_;
  float* products_;
  int64_t product_stride_;
  int64_t first_key_;
  int stage_count_ = 0;
  Stage stages_[kMaxStages];
  alignas(64) float shrink_[3][kProductRows];
};

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
