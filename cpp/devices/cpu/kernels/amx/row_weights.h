// The softmax of a few rows, some keys at a time: scores become weights as the bfloat16 that tiles multiply.
#pragma once

#include "devices/cpu/kernels/amx/tile_product.h"
#include "devices/cpu/kernels/attention_row.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Keys that are weighed at a time, and vectors of a row of their scores.
constexpr int kStageKeys = 2 * kStepRows, kRowVectors = kStageKeys / kLanes;

/// Scores [rows][kStageKeys], which become weights in place.
struct StageScores {
  float* at;
  int64_t stride;
  int rows;
  /// [kStageKeys]: what scores, and what weights, of each key are to be multiplied by.
  const float *key_factors, *value_factors;
};

/// Factors of keys whose scores have theirs.
alignas(64) inline constexpr auto kNoFactors = [] {
  struct {
    float values[kStageKeys];
  } factors{};
  for (float& factor : factors.values) factor = 1.0f;
  return factors;
}();

/// The softmax of up to kProductRows rows. A row's weights are exp(score - base), where the base is one of
/// its scores. Others may exceed it by kHeadroom before it is raised to the largest: that is rarely needed.
/// Without kHasFactors, those of the keys are not looked at.
template <int kParts, bool kHasFactors>
class RowWeights {
 public:
  static constexpr float kHeadroom = 8.0f, kMaxFactor = 1e30f;
  /// From here on a limit, rounded, might not leave the headroom.
  static constexpr float kLargeBase = 1e7f;

  /// Goes on with the bases and totals of `rows` rows, rounded up to kLanes, which are kept up to date: the
  /// bases at once, the totals by `end`.
  METALHEAD_INLINE void begin(float* bases, float* totals, int rows) {
    factor_ = 0.0f;
    bases_ = bases;
    totals_ = totals;
    for (int i = 0; i < rows; ++i) store(lane_totals_[i], zero());
  }

  METALHEAD_INLINE void end(int rows) {
    for (int i = 0; i < rows; i += kLanes) {
      F32 added[kLanes];
      METALHEAD_UNROLL
      for (int r = 0; r < kLanes; ++r) added[r] = i + r < rows ? load(lane_totals_[i + r]) : zero();
      store(totals_ + i, load(totals_ + i) + reduce_add_each(added));
    }
  }

  /// Scores times `factor`, between 0 and kMaxFactor, become kParts bfloat16 of each weight:
  /// [row][step][part] [kTileSide] pairs. `between()` is called after each row, `shrink(row, factor)` for
  /// what a row has summed up before when its base is raised.
  template <class Between, class Shrink>
  METALHEAD_INLINE void weigh(StageScores scores, float factor, Between between, Shrink shrink) {
    if (factor != factor_) prepare(factor, scores.rows);
    const F32 unit = splat(factor * kExponentUnit);
    for (int r = 0; r < scores.rows; ++r) {
      if (!weigh_row(scores, r, unit)) {
        if constexpr (kHasFactors) multiply_scores(scores, r);
        raise_bases(scores, r, shrink);
        if (!weigh_row(scores, r, unit)) weigh_any_row(scores, r);
      }
      between();
    }
  }

 private:
  /// Limits and offsets for the bases.
  METALHEAD_INLINE void prepare(float factor, int rows) {
    factor_ = factor;
    const F32 inverse = splat(1.0f / factor);
    for (int i = 0; i < rows; i += kLanes) {
      const F32 base = load(bases_ + i);
      const F32 limit = (base + splat(kHeadroom)) * inverse;
      store(limits_ + i, select_less(abs(base), splat(kLargeBase), limit, splat(kMinusInfinity)));
      store(offsets_ + i, base * splat(-kExponentUnit));
    }
  }

  /// False, and nothing done, if a score exceeds the row's limit or is NaN.
  METALHEAD_INLINE bool weigh_row(const StageScores& scores, int row, F32 unit) {
    float* at = scores.at + row * scores.stride;
    const F32 limit = splat(limits_[row]), offset = splat(offsets_[row]);
    LaneMask fitting = kAllLanes;
    F32 weights[kRowVectors];
    METALHEAD_UNROLL
    for (int i = 0; i < kRowVectors; ++i) {
      weights[i] = load(at + i * kLanes);
      if constexpr (kHasFactors) weights[i] = weights[i] * load(scores.key_factors + i * kLanes);
      fitting = lanes_not_above(weights[i], limit, fitting);
    }
    if (fitting != kAllLanes) return false;
    METALHEAD_UNROLL
    for (int i = 0; i < kRowVectors; ++i) weights[i] = fma(weights[i], unit, offset);
    // NaN is what a row without any key so far has, as both its scores and its base are -inf.
    exp2_each<false>(weights);
    store_weights(weights, scores, row);
    return true;
  }

  /// Scores of the rows from `begin` on take the factors of their keys.
  __attribute__((noinline)) static void multiply_scores(StageScores& scores, int begin) {
    for (int row = begin; row < scores.rows; ++row) {
      float* at = scores.at + row * scores.stride;
      for (int i = 0; i < kStageKeys; i += kLanes) {
        store(at + i, load(at + i) * load(scores.key_factors + i));
      }
    }
    scores.key_factors = kNoFactors.values;
  }

  /// The same for a large base and for NaN. The scores have the factors of their keys.
  __attribute__((noinline)) void weigh_any_row(const StageScores& scores, int row) {
    float* at = scores.at + row * scores.stride;
    // A row without any key so far has the base -inf; its weights must become 0, not NaN.
    const F32 base = splat(bases_[row] == kMinusInfinity ? 0.0f : bases_[row]);
    F32 weights[kRowVectors];
    // Rounded as the base is: the difference is 0 for the largest score.
    METALHEAD_UNROLL
    for (int i = 0; i < kRowVectors; ++i) weights[i] = load(at + i * kLanes) * splat(factor_) - base;
    exp_each(weights);
    store_weights(weights, scores, row);
  }

  /// Raises the bases that are too low of the rows from `begin` on.
  template <class Shrink>
  __attribute__((noinline)) void raise_bases(const StageScores& scores, int begin, Shrink shrink) {
    for (int first = begin / kLanes * kLanes; first < scores.rows; first += kLanes) {
      // Rows before `begin` are weights already.
      const int from = begin > first ? begin - first : 0,
                to = static_cast<int>(smaller(kLanes, scores.rows - first));
      const F32 top =
          largest_scores<kLanes>(scores.at + first * scores.stride, scores.stride, from, to, 0, kStageKeys) *
          splat(factor_);
      const F32 before = load(bases_ + first);
      const F32 now = select_less(before + splat(kHeadroom), top, top, before);
      // Weights so far have the offset in them, which is a rounded base.
      const F32 offsets = now * splat(-kExponentUnit) - load(offsets_ + first);
      const F32 difference =
          select_less(abs(now), splat(kLargeBase), offsets * splat(1.0f / kExponentUnit), before - now);
      alignas(64) float old[kLanes], factors[kLanes];
      store(old, before);
      store(factors, exp(difference));
      store(bases_ + first, now);
      for (int i = 0; i < kLanes && first + i < scores.rows; ++i) {
        const int row = first + i;
        // A row without any key so far has summed up nothing.
        if (old[i] == bases_[row] || old[i] == kMinusInfinity) continue;
        totals_[row] *= factors[i];
        store(lane_totals_[row], load(lane_totals_[row]) * splat(factors[i]));
        shrink(row, factors[i]);
      }
    }
    prepare(factor_, scores.rows);
  }

  METALHEAD_INLINE void store_weights(F32 (&weights)[kRowVectors], const StageScores& scores, int row) {
    int32_t* to = as_pairs(scores.at + row * scores.stride);
    F32 total = load(lane_totals_[row]);
    METALHEAD_UNROLL
    for (int i = 0; i < kRowVectors; i += 2, to += kParts * kTileSide) {
      total = total + (weights[i] + weights[i + 1]);
      if constexpr (kHasFactors) {
        weights[i] = weights[i] * load(scores.value_factors + i * kLanes);
        weights[i + 1] = weights[i + 1] * load(scores.value_factors + (i + 1) * kLanes);
      }
      store_parts<kParts>(weights[i], weights[i + 1], to, kTileSide);
    }
    store(lane_totals_[row], total);
  }

  float *bases_ = nullptr, *totals_ = nullptr;
  float factor_ = 0.0f;  ///< what the limits are made for
  /// Scores up to the limit fit the base; the offset is what is added to scores times the unit.
  alignas(64) float limits_[kProductRows], offsets_[kProductRows];
  alignas(64) float lane_totals_[kProductRows][kLanes];
};

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
