// Small matrix products held in registers, as gemm_tile.h has them, on pairs of bfloat16: both factors hold
// two steps of the depth in 4 bytes, sums are float32.
#pragma once

#include "devices/cpu/kernels/bf16/simd_bf16.h"
#include "devices/cpu/kernels/gemm_tile.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// A weight is the sum of two bfloat16: one errs by as much as rounding the result does, which is too much
/// for few results and for values that cancel. Blocks of kPanelWidth keys, each kLanes pairs of first terms,
/// then of second ones, take the room of as many scores.
constexpr int kWeightBlock = 2 * kLanes;

template <int kRows, int kVectors>
METALHEAD_INLINE void clear(F32 (&sums)[kRows][kVectors]) {
  METALHEAD_UNROLL
  for (int i = 0; i < kRows; ++i) {
    METALHEAD_UNROLL
    for (int j = 0; j < kVectors; ++j) sums[i][j] = zero();
  }
}

/// sums[i] += a[i * kRowStride] * row, as dot products of pairs.
template <int kRowStride, int kRows, int kVectors>
METALHEAD_INLINE void add_products(F32 (&sums)[kRows][kVectors], const int32_t* a,
                                   const I32 (&row)[kVectors]) {
  METALHEAD_UNROLL
  for (int i = 0; i < kRows; ++i) {
    const I32 pair = splat(a[i * kRowStride]);
    METALHEAD_UNROLL
    for (int j = 0; j < kVectors; ++j) sums[i][j] = dot_pairs(sums[i][j], pair, row[j]);
  }
}

template <int kVectors>
METALHEAD_INLINE void load_panel_row(I32 (&row)[kVectors], const int32_t* b) {
  METALHEAD_UNROLL
  for (int j = 0; j < kVectors; ++j) row[j] = load(b + j * kLanes);
}

/// One register tile of scores[rows x keys] = factor * queries * keys over `depth` pairs of coordinates;
/// queries lie kTileRows beside each other.
struct ScoreTile {
  const int32_t* queries;
  int64_t depth;
  float factor;

  template <int kRows, int kVectors>
  __attribute__((noinline)) void run(const int32_t* b, float* c, int64_t c_stride) const {
    const int32_t* a = queries;
    constexpr int64_t kSumPairs = kSumTerms / 2;
    for (int64_t begin = 0; begin < depth; begin += kSumPairs) {
      F32 sums[kRows][kVectors];
      clear(sums);
      const int64_t end = depth - begin < kSumPairs ? depth : begin + kSumPairs;
      for (int64_t k = begin; k < end; ++k, a += kTileRows, b += kPanelWidth) {
        __builtin_prefetch(b + kRowsAhead * kPanelWidth);
        __builtin_prefetch(b + kRowsAhead * kPanelWidth + kLanes);
        I32 row[kVectors];
        load_panel_row(row, b);
        add_products<1>(sums, a, row);
      }
      METALHEAD_UNROLL
      for (int i = 0; i < kRows; ++i) {
        METALHEAD_UNROLL
        for (int j = 0; j < kVectors; ++j) {
          float* to = c + i * c_stride + j * kLanes;
          store(to, fma(sums[i][j], splat(factor), begin == 0 ? zero() : load(to)));
        }
      }
    }
  }
};

/// One register tile of sums = shrink[row] * sums + weights * values over `depth` pairs of keys.
template <int kWeightStride>
struct ValueTile {
  const int32_t* weights;
  int64_t depth;
  const float* shrink;

  template <int kRows, int kVectors>
  __attribute__((noinline)) void run(const int32_t* b, float* c, int64_t c_stride) const {
    F32 sums[kRows][kVectors];
    clear(sums);
    for (int64_t begin = 0; begin < depth; begin += kLanes) {
      const int32_t* a = weights + begin / kLanes * kWeightBlock;
      const int64_t pairs = depth - begin < kLanes ? depth - begin : kLanes;
      for (int64_t k = 0; k < pairs; ++k, b += kPanelWidth) {
        __builtin_prefetch(b + kRowsAhead * kPanelWidth);
        __builtin_prefetch(b + kRowsAhead * kPanelWidth + kLanes);
        I32 row[kVectors];
        load_panel_row(row, b);
        add_products<kWeightStride>(sums, a + k, row);
        add_products<kWeightStride>(sums, a + k + kLanes, row);
      }
    }
    METALHEAD_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const F32 factor = splat(shrink[i]);
      METALHEAD_UNROLL
      for (int j = 0; j < kVectors; ++j) {
        float* to = c + i * c_stride + j * kLanes;
        store(to, fma(load(to), factor, sums[i][j]));
      }
    }
  }
};

template <int kRows, class Tile>
METALHEAD_INLINE void pair_row_tile(const Tile& tile, int64_t columns, const int32_t* b, int64_t panel_stride,
                                    float* c, int64_t c_stride) {
  for (int64_t column = 0; column < columns; column += kPanelWidth, b += panel_stride) {
    if (columns - column > kLanes) {
      tile.template run<kRows, 2>(b, c + column, c_stride);
    } else {
      tile.template run<kRows, 1>(b, c + column, c_stride);
    }
  }
}

/// Up to kTileRows rows of `tile` by the panels that hold `columns` columns; panels are `panel_stride` pairs
/// apart. C has rounded_tile_rows(rows) rows and columns rounded up to kLanes.
template <class Tile>
METALHEAD_INLINE void pair_rows(const Tile& tile, int rows, int64_t columns, const int32_t* b,
                                int64_t panel_stride, float* c, int64_t c_stride) {
  switch (rounded_tile_rows(rows)) {
    case 1:
      return pair_row_tile<1>(tile, columns, b, panel_stride, c, c_stride);
    case kThirdOfTile:
      return pair_row_tile<kThirdOfTile>(tile, columns, b, panel_stride, c, c_stride);
    case kTwoThirdsOfTile:
      return pair_row_tile<kTwoThirdsOfTile>(tile, columns, b, panel_stride, c, c_stride);
    default:
      return pair_row_tile<kTileRows>(tile, columns, b, panel_stride, c, c_stride);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
