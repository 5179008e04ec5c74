// Small matrix products held in registers: C[rows x columns] (+)= A[rows x depth] * B[depth x columns],
// float32.
#pragma once

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Columns of a panel of B: its rows are kPanelWidth apart.
constexpr int kPanelWidth = 2 * kLanes;
/// Rows of A that one register tile takes: the accumulators leave room for a row of B and one value of A.
constexpr int kTileRows = kVectorRegisters == 32 ? 12 : 6;

/// Rows of a panel of B that are fetched ahead of their use.
constexpr int kRowsAhead = 16;

/// Rows that the register tile for `rows` rows of A really computes.
METALHEAD_INLINE constexpr int rounded_tile_rows(int rows) {
  constexpr int kThird = kTileRows / 3;
  return rows > 2 * kThird ? kTileRows : rows > kThird ? 2 * kThird : rows > 1 ? kThird : 1;
}

/// A(i, k) is a[i * kRow + k * kStep]. With kAdd C = factors[i] * C + A * B, else C = factors[0] * A * B.
template <int kRow, int kStep, bool kAdd>
struct ProductKind {
  static constexpr int kRowStride = kRow, kStepStride = kStep;
  static constexpr bool kAccumulate = kAdd;
};

/// Terms of one running sum. Longer products are joined from shorter sums: the error of a sum grows with its
/// length. Long scores take the shortest, as exp turns their errors into relative ones of the weights.
constexpr int64_t kSumTerms = 128, kSumTermsOfLongScores = 64;

/// One register tile.
template <class Kind, int kRows, int kVectors>
inline __attribute__((noinline)) void gemm_tile(const float* a, const float* b, int64_t depth, float* c,
                                                int64_t c_stride, const float* factors) {
  const int64_t sum_terms = Kind::kAccumulate || depth <= kSumTerms ? kSumTerms : kSumTermsOfLongScores;
  for (int64_t begin = 0; begin < depth; begin += sum_terms) {
    F32 sums[kRows][kVectors];
    METALHEAD_UNROLL
    for (int i = 0; i < kRows; ++i) {
      METALHEAD_UNROLL
      for (int j = 0; j < kVectors; ++j) sums[i][j] = zero();
    }
    const int64_t terms = depth - begin < sum_terms ? depth - begin : sum_terms;
    for (int64_t k = 0; k < terms; ++k) {
      __builtin_prefetch(b + kRowsAhead * kPanelWidth);
      __builtin_prefetch(b + kRowsAhead * kPanelWidth + kLanes);
      F32 row[kVectors];
      METALHEAD_UNROLL
      for (int j = 0; j < kVectors; ++j) row[j] = load(b + j * kLanes);
      METALHEAD_UNROLL
      for (int i = 0; i < kRows; ++i) {
        const F32 value = splat(a[i * Kind::kRowStride]);
        METALHEAD_UNROLL
        for (int j = 0; j < kVectors; ++j) sums[i][j] = fma(value, row[j], sums[i][j]);
      }
      a += Kind::kStepStride;
      b += kPanelWidth;
    }
    METALHEAD_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const F32 old_factor = splat(begin == 0 && Kind::kAccumulate ? factors[i] : 1.0f);
      METALHEAD_UNROLL
      for (int j = 0; j < kVectors; ++j) {
        float* to = c + i * c_stride + j * kLanes;
        const F32 sum = Kind::kAccumulate ? sums[i][j] : sums[i][j] * splat(factors[0]);
        store(to, begin == 0 && !Kind::kAccumulate ? sum : fma(load(to), old_factor, sum));
      }
    }
  }
}

template <class Kind, int kRows>
METALHEAD_INLINE void gemm_row_tile(int64_t columns, const float* a, const float* b, int64_t panel_stride,
                                    int64_t depth, float* c, int64_t c_stride, const float* factors) {
  for (int64_t column = 0; column < columns; column += kPanelWidth, b += panel_stride) {
    if (columns - column > kLanes) {
      gemm_tile<Kind, kRows, 2>(a, b, depth, c + column, c_stride, factors);
    } else {
      gemm_tile<Kind, kRows, 1>(a, b, depth, c + column, c_stride, factors);
    }
  }
}

/// Up to kTileRows rows of A by the panels of B that hold `columns` columns; panels are `panel_stride` floats
/// apart. C has rounded_tile_rows(rows) rows and columns rounded up to kLanes; so many rows of A are read.
template <class Kind>
METALHEAD_INLINE void gemm_rows(int rows, int64_t columns, const float* a, const float* b,
                                int64_t panel_stride, int64_t depth, float* c, int64_t c_stride,
                                const float* factors) {
  constexpr int kThird = kTileRows / 3;
  switch (rounded_tile_rows(rows)) {
    case 1:
      return gemm_row_tile<Kind, 1>(columns, a, b, panel_stride, depth, c, c_stride, factors);
    case kThird:
      return gemm_row_tile<Kind, kThird>(columns, a, b, panel_stride, depth, c, c_stride, factors);
    case 2 * kThird:
      return gemm_row_tile<Kind, 2 * kThird>(columns, a, b, panel_stride, depth, c, c_stride, factors);
    default:
      return gemm_row_tile<Kind, kTileRows>(columns, a, b, panel_stride, depth, c, c_stride, factors);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
