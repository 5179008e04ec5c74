// Chooses the codes of one rotated vector by the encoder's rule: the same bits on every machine.
//
// The file must be compiled without contraction of a * b + c into a fused multiply-add.
#pragma once

#include <cstdint>

#include "devices/cpu/kernels/simd.h"
#include "devices/cpu/kernels/tq_lookup.h"
#include "devices/cpu/kernels/tq_rotation.h"
#include "metal/common/codebooks.h"
#include "metal/common/codec_rule.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Sums that the rule keeps apart: coordinate j belongs to number j mod 32.
constexpr int kPartialSums = 32;
constexpr int kSumRegisters = kPartialSums / kLanes;

/// The 32 partial sums joined pairwise: those at distance 16 first, then 8, 4, 2 and 1.
METALHEAD_INLINE float join_partial_sums(F32 (&sums)[kSumRegisters]) {
  for (int half = kSumRegisters / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) sums[i] = sums[i] + sums[i + half];
  }
  F32 x = sums[0];
  if constexpr (kLanes >= 16) x = x + exchange<8>(x);
  if constexpr (kLanes >= 8) x = x + exchange<4>(x);
  x = x + exchange<2>(x);
  x = x + exchange<1>(x);
  return first_lane(x);
}

/// Sum of squares of a vector by the rule.
METALHEAD_INLINE float sum_of_squares(const float* values, int dim) {
  F32 sums[kSumRegisters];
  for (F32& sum : sums) sum = zero();
  for (int j = 0; j < dim; j += kPartialSums) {
#pragma GCC unroll 8
    for (int i = 0; i < kSumRegisters; ++i) {
      const F32 x = load(values + j + i * kLanes);
      sums[i] = sums[i] + x * x;
    }
  }
  return join_partial_sums(sums);
}

/// What one choice of codes amounts to: <level, y> and <level, level>.
struct Fit {
  float along = 0.0f;
  float square = 0.0f;
};

/// True if `a` leaves less squared error than `b` after the best scale of each.
METALHEAD_INLINE bool better_fit(const Fit& a, const Fit& b) {
  return a.along * a.along * b.square > b.along * b.along * a.square;
}

/// The codebook of 2 to 6 bits as the quantiser reads it: positive halves only.
template <int kBits>
struct PositiveHalf {
  static constexpr int kLevels = 1 << (kBits - 1);
  static constexpr int kBoundaries = kLevels - 1;
  static constexpr const float* levels() {
    if constexpr (kBits == 2) return kLevels2 + kLevels;
    if constexpr (kBits == 3) return kLevels3 + kLevels;
    if constexpr (kBits == 4) return kLevels4 + kLevels;
    if constexpr (kBits == 5) return kLevels5 + kLevels;
    if constexpr (kBits == 6) return kLevels6 + kLevels;
  }
  static constexpr const float* boundaries() {
    if constexpr (kBits == 2) return kBoundaries2 + kLevels;
    if constexpr (kBits == 3) return kBoundaries3 + kLevels;
    if constexpr (kBits == 4) return kBoundaries4 + kLevels;
    if constexpr (kBits == 5) return kBoundaries5 + kLevels;
    if constexpr (kBits == 6) return kBoundaries6 + kLevels;
  }
};

/// Memory that a MagnitudeTable or Thresholds may point to.
template <int kBits>
struct PaddedMagnitudes {
  float values[32], boundaries[32];
  constexpr PaddedMagnitudes() : values{}, boundaries{} {
    using Half = PositiveHalf<kBits>;
    for (int i = 0; i < 32; ++i) values[i] = Half::levels()[i & (Half::kLevels - 1)];
    for (int i = 0; i < Half::kBoundaries; ++i) boundaries[i] = Half::boundaries()[i];
  }
};
template <int kBits>
inline constexpr PaddedMagnitudes<kBits> kPaddedMagnitudes;

/// Magnitudes of levels, looked up by their index counted from the middle of the codebook.
template <int kBits>
struct MagnitudeTable {
  Table16 tables[2] = {load_table16(kPaddedMagnitudes<kBits>.values),
                       load_table16(kPaddedMagnitudes<kBits>.values + 16)};

  METALHEAD_INLINE F32 operator()(I32 index) const {
    if constexpr (kBits < 6) return lookup(tables[0], index);
#ifdef __AVX2__
    return lookup_32(tables, index);
#else
    const I32 within = index & splat(int32_t{15});
    return select_less(splat(15.5f), to_float(index), lookup(tables[1], within), lookup(tables[0], within));
#endif
  }
};

/// The positive boundaries times a unit.
template <int kBits>
struct Thresholds {
  static constexpr int kCount = PositiveHalf<kBits>::kBoundaries;
#ifdef __AVX512F__
  Table16 tables[2];

  METALHEAD_INLINE explicit Thresholds(float unit) {
    const float* boundaries = kPaddedMagnitudes<kBits>.boundaries;
    for (int i = 0; i < 2; ++i) tables[i].values = (load(boundaries + 16 * i) * splat(unit)).v;
  }

  /// How many are strictly below x; they ascend, so that halving the rest finds out.
  METALHEAD_INLINE I32 count_below(F32 x) const {
    I32 count = splat(int32_t{0});
#pragma GCC unroll 5
    for (int step = (kCount + 1) / 2; step > 0; step /= 2) {
      const I32 at = count + splat(int32_t{step - 1});
      const F32 threshold = kBits == 6 ? lookup_32(tables, at) : lookup(tables[0], at);
      const __mmask16 below = _mm512_cmp_ps_mask(threshold.v, x.v, _CMP_LT_OQ);
      count.v = _mm512_mask_add_epi32(count.v, below, count.v, _mm512_set1_epi32(step));
    }
    return count;
  }
#else
  F32 values[kCount];

  METALHEAD_INLINE explicit Thresholds(float unit) {
    for (int i = 0; i < kCount; ++i) values[i] = splat(PositiveHalf<kBits>::boundaries()[i] * unit);
  }

  /// How many are strictly below x.
  METALHEAD_INLINE I32 count_below(F32 x) const {
    I32 count = splat(int32_t{0});
#pragma GCC unroll 31
    for (int t = 0; t < kCount; ++t) count = count - less(values[t], x);
    return count;
  }
#endif
};

/// Codes of y in units of `unit` (u = y / unit): the number of boundaries b with fl(b * unit) strictly below
/// y.
template <int kBits>
METALHEAD_INLINE Fit quantise_to_levels(const float* y, int dim, float unit, uint8_t* codes) {
  using Half = PositiveHalf<kBits>;
  const MagnitudeTable<kBits> magnitudes;
  const Thresholds<kBits> thresholds(unit);
  F32 along[kSumRegisters], square[kSumRegisters];
  for (F32& sum : along) sum = zero();
  for (F32& sum : square) sum = zero();
  for (int j = 0; j < dim; j += kPartialSums) {
#pragma GCC unroll 8
    for (int i = 0; i < kSumRegisters; ++i) {
      const F32 x = load(y + j + i * kLanes);
      const I32 positive = less(zero(), x);
      // One ulp more for x <= 0 turns "at or below |x|" into "strictly below", which is what its side must
      // count.
      const F32 magnitude = as_float(as_int(abs(x)) + (positive + splat(int32_t{1})));
      const I32 index = thresholds.count_below(magnitude);
      const I32 mirror = (positive ^ splat(int32_t{-1})) & splat(int32_t{2 * Half::kLevels - 1});
      store_bytes(codes + j + i * kLanes, (index + splat(int32_t{Half::kLevels})) ^ mirror);
      const F32 level = magnitudes(index);
      along[i] = along[i] + level * abs(x);
      square[i] = square[i] + level * level;
    }
  }
  return {join_partial_sums(along), join_partial_sums(square)};
}

/// 8-bit codes: y * step rounded to the nearest integer (ties to even) and clamped to +-127, plus 128.
METALHEAD_INLINE Fit quantise_linear(const float* y, int dim, float step, uint8_t* codes) {
  F32 along[kSumRegisters], square[kSumRegisters];
  for (F32& sum : along) sum = zero();
  for (F32& sum : square) sum = zero();
  for (int j = 0; j < dim; j += kPartialSums) {
    for (int i = 0; i < kSumRegisters; ++i) {
      const F32 x = load(y + j + i * kLanes);
      const I32 rounded = round_to_int(max(splat(-127.0f), min(splat(127.0f), x * splat(step))));
      store_bytes(codes + j + i * kLanes, rounded + splat(int32_t{128}));
      const F32 level = to_float(rounded);
      along[i] = along[i] + level * x;
      square[i] = square[i] + level * level;
    }
  }
  return {join_partial_sums(along), join_partial_sums(square)};
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
