// Small matrix products held in registers: C[rows x columns] (+)= A[rows x depth] * B[depth x columns],
// float32.
#pragma once

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Columns of a panel of B: its rows are kPanelWidth apart.
constexpr int kPanelWidth = 2 * kLanes;
/// Rows of A that are multiplied together: the accumulators of a panel leave room for a row of it and one
/// value of A.
constexpr int kTileRows = kVectorRegisters < 32 ? 6 : 12;
/// Panels of B that a register tile takes. On AVX-512 two, and half of the rows: 24 multiply-adds then take
/// 10 loads instead of 14, and loads into whole vectors are what holds the loop up.
constexpr int kTilePanels = kLanes == 16 ? 2 : 1;
constexpr int kWideTileRows = kTileRows / kTilePanels, kWideTileVectors = 2 * kTilePanels;

/// Rows of a panel of B that are fetched ahead of their use.
constexpr int kRowsAhead = 16;

/// Rows of A of the smaller register tiles, for what is left over.
constexpr int kThirdOfTile = kTileRows / 3, kTwoThirdsOfTile = 2 * kThirdOfTile;

/// Rows that the register tile for `rows` rows of A really computes.
METALHEAD_INLINE constexpr int rounded_tile_rows(int rows) {
  return rows > kTwoThirdsOfTile ? kTileRows
         : rows > kThirdOfTile   ? kTwoThirdsOfTile
         : rows > 1              ? kThirdOfTile
                                 : 1;
}

/// Where A(i, k) lies: a[i * kRowStride + k * kStepStride].
template <int kRowStride, int kStepStride>
struct RowsOfA {
  static constexpr int kRow = kRowStride, kStep = kStepStride;
};

/// What becomes of C, given P = A * B and factors f.
enum class Update {
  kSet,       ///< C = f[0] * P
  kAdd,       ///< C += f[0] * P
  kScaleAdd,  ///< C = f[i] * C + P in row i
};

/// Terms of one running sum. Longer products are joined from shorter sums: the error of a sum grows with its
/// length. Long scores take the shortest, as exp turns their errors into relative ones of the weights.
constexpr int64_t kSumTerms = 128, kSumTermsOfLongScores = 64;

/// One register tile, `depth` terms in one running sum; panels of B are `panel_stride` floats apart.
template <class Rows, Update kUpdate, int kRows, int kVectors>
inline __attribute__((noinline)) void gemm_tile(const float* a, const float* b, int64_t panel_stride,
                                                int64_t depth, float* c, int64_t c_stride,
                                                const float* factors) {
  F32 sums[kRows][kVectors];
  METALHEAD_UNROLL
  for (int i = 0; i < kRows; ++i) {
    METALHEAD_UNROLL
    for (int j = 0; j < kVectors; ++j) sums[i][j] = zero();
  }
  const float* second = kVectors > 2 ? b + panel_stride : b;
  for (const float* end = b + depth * kPanelWidth; b != end;
       a += Rows::kStep, b += kPanelWidth, second += kPanelWidth) {
    F32 row[kVectors];
    METALHEAD_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      // There is no room for a second request for the same line; over two panels the loop looks far enough
      // ahead by itself.
      if (kVectors <= 2 && j * kLanes % kLineFloats == 0)
        __builtin_prefetch(b + kRowsAhead * kPanelWidth + j * kLanes);
      row[j] = load((j < 2 ? b : second) + j % 2 * kLanes);
    }
    METALHEAD_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const F32 value = splat(a[i * Rows::kRow]);
      METALHEAD_UNROLL
      for (int j = 0; j < kVectors; ++j) sums[i][j] = fma(value, row[j], sums[i][j]);
    }
  }
  METALHEAD_UNROLL
  for (int i = 0; i < kRows; ++i, c += c_stride) {
    const F32 factor = splat(factors[kUpdate == Update::kScaleAdd ? i : 0]);
    METALHEAD_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      float* to = c + j * kLanes;
      const F32 sum = sums[i][j];
      store(to, kUpdate == Update::kSet   ? sum * factor
                : kUpdate == Update::kAdd ? fma(sum, factor, load(to))
                                          : fma(load(to), factor, sum));
    }
  }
}

/// A(first row, first term), the panels of B that start at the first term, and the lengths of the product.
struct Factors {
  const float *a, *b;
  int64_t panel_stride;  ///< floats between panels of B
  int64_t columns, depth;
  int64_t sum_terms;  ///< see kSumTerms
};

/// Where the product goes: C has rounded_tile_rows(rows) rows and columns rounded up to kLanes.
struct Target {
  float* c;
  int64_t stride;
  const float* factors;
};

/// The kVectors vectors of columns from `column` on of kRows rows, kTileOfRows rows at a time.
template <class Rows, Update kUpdate, int kRows, int kTileOfRows, int kVectors>
METALHEAD_INLINE void gemm_columns(const Factors& from, const Target& to, int64_t column) {
  constexpr bool kFactorPerRow = kUpdate == Update::kScaleAdd;
  constexpr float kOne = 1.0f;
  const float* b = from.b + column / kPanelWidth * from.panel_stride;
  for (int64_t k = 0; k < from.depth; k += from.sum_terms, b += from.sum_terms * kPanelWidth) {
    const int64_t terms = from.depth - k < from.sum_terms ? from.depth - k : from.sum_terms;
    for (int row = 0; row < kRows; row += kTileOfRows) {
      const float* a = from.a + row * Rows::kRow + k * Rows::kStep;
      float* c = to.c + row * to.stride + column;
      if (k == 0) {
        gemm_tile<Rows, kUpdate, kTileOfRows, kVectors>(a, b, from.panel_stride, terms, c, to.stride,
                                                        kFactorPerRow ? to.factors + row : to.factors);
      } else {
        gemm_tile<Rows, Update::kAdd, kTileOfRows, kVectors>(a, b, from.panel_stride, terms, c, to.stride,
                                                             kFactorPerRow ? &kOne : to.factors);
      }
    }
  }
}

template <class Rows, Update kUpdate, int kRows>
METALHEAD_INLINE void gemm_row_tile(const Factors& from, const Target& to) {
  int64_t column = 0;
  if constexpr (kRows == kTileRows && kTilePanels > 1) {
    constexpr int64_t kWidth = kTilePanels * kPanelWidth;
    for (; column + kWidth - kLanes < from.columns; column += kWidth) {
      gemm_columns<Rows, kUpdate, kRows, kWideTileRows, kWideTileVectors>(from, to, column);
    }
  }
  for (; column < from.columns; column += kPanelWidth) {
    if (from.columns - column > kLanes) {
      gemm_columns<Rows, kUpdate, kRows, kRows, 2>(from, to, column);
    } else {
      gemm_columns<Rows, kUpdate, kRows, kRows, 1>(from, to, column);
    }
  }
}

/// Up to kTileRows rows of A by B; rounded_tile_rows(rows) rows of A are read.
template <class Rows, Update kUpdate>
METALHEAD_INLINE void gemm_rows(int rows, const Factors& from, const Target& to) {
  switch (rounded_tile_rows(rows)) {
    case 1:
      return gemm_row_tile<Rows, kUpdate, 1>(from, to);
    case kThirdOfTile:
      return gemm_row_tile<Rows, kUpdate, kThirdOfTile>(from, to);
    case kTwoThirdsOfTile:
      return gemm_row_tile<Rows, kUpdate, kTwoThirdsOfTile>(from, to);
    default:
      return gemm_row_tile<Rows, kUpdate, kTileRows>(from, to);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
