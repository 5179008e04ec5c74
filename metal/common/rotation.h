// The signed Walsh-Hadamard rotation of one vector that a simdgroup holds: coordinate j is values[j / 32] of
// lane j % 32.
#pragma once

#include "common/arithmetic.h"

/// Registers of a lane for the longest vector that is rotated, 512.
#define METALHEAD_LANE_VALUES 16

/// The transform in natural order without a factor; `count` = dimension / 32. Stages go from the shortest
/// distance up, each adds or subtracts pairs: the same bits on every machine.
METAL_FUNC void walsh_hadamard(thread float (&values)[METALHEAD_LANE_VALUES], int count, uint lane) {
  for (ushort distance = 1; distance < 32; distance *= 2) {
    const bool upper = (lane & distance) != 0;
    METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
      if (i >= count) continue;
      const float other = simd_shuffle_xor(values[i], distance);
      values[i] = upper ? other - values[i] : values[i] + other;
    }
  }
  METALHEAD_UNROLL for (int step = 1; step < METALHEAD_LANE_VALUES; step *= 2) {
    METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
      if (step >= count || i >= count || (i & step) != 0) continue;
      const float a = values[i], b = values[i + step];
      values[i] = a + b;
      values[i + step] = a - b;
    }
  }
}

/// Negates the coordinates whose bit is set in `signs`.
METAL_FUNC void apply_signs(thread float (&values)[METALHEAD_LANE_VALUES], int count,
                            constant metalhead_uint* signs, uint lane) {
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
    if (i < count && ((signs[i] >> lane) & 1) != 0) values[i] = -values[i];
  }
}

/// 1 / sqrt(dimension) for powers of two, rounded once.
METAL_FUNC float rotation_factor(uint dimension) {
  const uint exponent = ctz(dimension);
  const float whole = as_type<float>((127u - exponent / 2) << 23);
  return (exponent & 1) != 0 ? whole * 0.70710678118654752f : whole;
}
