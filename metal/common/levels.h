// Levels and boundaries of the codebooks by bits, for kernels in which the bits are a function constant.
#pragma once

#include "common/arithmetic.h"
#include "common/codebooks.h"

/// The level of a code; 8 bits are linear and need no table.
METAL_FUNC float level_of(uint code, uint bits) {
  if (bits == 2) return kLevels2[code];
  if (bits == 3) return kLevels3[code];
  if (bits == 4) return kLevels4[code];
  if (bits == 5) return kLevels5[code];
  if (bits == 6) return kLevels6[code];
  return float(int(code) - 128);
}

/// Boundary number `index`, counted from the one above 0.
METAL_FUNC float positive_boundary(uint index, uint bits) {
  const uint at = (1u << (bits - 1)) + index;
  if (bits == 2) return kBoundaries2[at];
  if (bits == 3) return kBoundaries3[at];
  if (bits == 4) return kBoundaries4[at];
  if (bits == 5) return kBoundaries5[at];
  return kBoundaries6[at];
}
