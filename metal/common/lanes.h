// The layout of 8x8 simdgroup matrices over the lanes of Apple GPUs, and reductions along their rows.
#pragma once

#include "common/arithmetic.h"

/// Row of both elements that a lane holds.
METAL_FUNC int matrix_row(uint lane) { return int(((lane >> 2) & 4) | ((lane >> 1) & 3)); }

/// Column of the first element that a lane holds; the second is its right neighbour.
METAL_FUNC int matrix_column(uint lane) { return int(((lane >> 1) & 4) | ((lane & 1) << 1)); }

/// Combines the four lanes that hold one row; all of them get the result.
METAL_FUNC float row_max(float x) {
  x = max(x, simd_shuffle_xor(x, 1));
  return max(x, simd_shuffle_xor(x, 8));
}
METAL_FUNC float row_sum(float x) {
  x += simd_shuffle_xor(x, 1);
  return x + simd_shuffle_xor(x, 8);
}
