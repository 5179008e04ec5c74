// Chooses the codes of one rotated vector by the encoder's rule: the same bits on every machine.
//
// Every sum runs over the coordinates of a lane in order and then pairwise over the lanes; no product may be
// contracted with the sum that it enters, and every root and quotient is rounded correctly.
#pragma once

#pragma METAL fp contract(off)

#include "common/codec_rule.h"
#include "common/levels.h"
#include "common/rotation.h"

/// What one choice of codes amounts to: <level, y> and <level, level>.
struct Fit {
  float along;
  float square;
};

/// True if `a` leaves less squared error than `b` after the best scale of each.
METAL_FUNC bool better_fit(thread const Fit& a, thread const Fit& b) {
  return a.along * a.along * b.square > b.along * b.along * a.square;
}

/// A lane's codes, and how well all lanes' codes fit.
struct Codes {
  uint values[METALHEAD_LANE_VALUES];
  Fit fit;
};

/// The lanes' partial sums joined pairwise: those at distance 16 first, then 8, 4, 2 and 1.
METAL_FUNC float join_partial_sums(float sum) {
  for (ushort distance = 16; distance > 0; distance /= 2) sum = sum + simd_shuffle_xor(sum, distance);
  return sum;
}

METAL_FUNC float exact_sqrt(float x) { return rounded_sqrt(x, precise::sqrt(x)); }
METAL_FUNC float exact_quotient(float a, float b) { return rounded_quotient(a, b, a / b); }

METAL_FUNC float sum_of_squares(thread const float (&y)[METALHEAD_LANE_VALUES], int count) {
  float sum = 0.0f;
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
    const float square = y[i] * y[i];
    if (i < count) sum = sum + square;
  }
  return join_partial_sums(sum);
}

/// Codes of y in units of `unit`: the number of boundaries b with fl(b * unit) strictly below y. 2 to 6 bits.
METAL_FUNC Codes quantise_to_levels(thread const float (&y)[METALHEAD_LANE_VALUES], int count, uint bits,
                                    float unit) {
  const uint levels = 1u << (bits - 1);
  Codes codes;
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) codes.values[i] = 0;
  for (uint b = 0; b + 1 < levels; ++b) {
    const float threshold = positive_boundary(b, bits) * unit;
    METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
      // One ulp more for y <= 0 turns "at or below |y|" into "strictly below", which is what its side must
      // count.
      const float magnitude = as_type<float>(as_type<uint>(fabs(y[i])) + (y[i] > 0.0f ? 0u : 1u));
      codes.values[i] += threshold < magnitude ? 1u : 0u;
    }
  }
  float along = 0.0f, square = 0.0f;
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
    if (i >= count) continue;
    const float level = level_of(levels + codes.values[i], bits);
    const float towards = level * fabs(y[i]), length = level * level;
    along = along + towards;
    square = square + length;
    codes.values[i] = (levels + codes.values[i]) ^ (y[i] > 0.0f ? 0u : 2 * levels - 1);
  }
  codes.fit.along = join_partial_sums(along);
  codes.fit.square = join_partial_sums(square);
  return codes;
}

/// 8-bit codes: y * step rounded to the nearest integer (ties to even) and clamped to +-127, plus 128.
METAL_FUNC Codes quantise_linear(thread const float (&y)[METALHEAD_LANE_VALUES], int count, float step) {
  Codes codes;
  float along = 0.0f, square = 0.0f;
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
    const float level = rint(max(-127.0f, min(127.0f, y[i] * step)));
    codes.values[i] = uint(int(level) + 128);
    if (i >= count) continue;
    const float towards = level * y[i], length = level * level;
    along = along + towards;
    square = square + length;
  }
  codes.fit.along = join_partial_sums(along);
  codes.fit.square = join_partial_sums(square);
  return codes;
}

METAL_FUNC float search_factor(uint steps, uint step) {
  return steps == 17 ? kSearchFactors17[step] : steps == 5 ? kSearchFactors5[step] : 1.0f;
}

/// Tries every factor; the first of the best wins. `largest` is that of |y|, needed for 8 bits alone.
METAL_FUNC Codes choose_codes(thread const float (&y)[METALHEAD_LANE_VALUES], int count, uint bits, float rms,
                              float largest, uint search_steps) {
  Codes best;
  for (uint step = 0; step < search_steps; ++step) {
    const float factor = search_factor(search_steps, step);
    const Codes codes = bits == 8 ? quantise_linear(y, count, exact_quotient(127.0f, largest * factor))
                                  : quantise_to_levels(y, count, bits, rms * factor);
    if (step == 0 || better_fit(codes.fit, best.fit)) best = codes;
  }
  return best;
}
