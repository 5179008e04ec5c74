// Weighted sums of packed values that are streamed from memory once; what stream_rows.h is to dense rows.
// Coordinates are in the order of tq_fields.h.
#pragma once

#include <cstdint>

#include "devices/cpu/kernels/attention_view.h"
#include "devices/cpu/kernels/row_storage.h"
#include "devices/cpu/kernels/tq_dot.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Rows of sums in the order of fields.
struct PackedSums {
  float* rows;
  int64_t stride;
  int dim;
};

/// Joining planes takes so long that AVX-512 gains from doing it one row ahead; others lack registers.
template <int kBits>
constexpr bool kJoinsAhead = kLanes == 16 && plane_widths(kBits).low > 0;

/// Every kStep-th vector of columns of one block of fields, number kFirst of them first, over all values.
template <int kBits, int kParts, int kRows, int kFirst, int kStep, int kFetchedLines>
METALHEAD_INLINE void add_packed_columns(const float* weights, int64_t weight_stride,
                                         const StoredRows& values, const PackedSums& sums, int first,
                                         SpreadFetch& ahead) {
  const typename CodeFields<kBits, kParts>::Table table;
  constexpr int kVectors = kParts / kStep;
  F32 acc[kRows][kVectors];
  float* to = sums.rows + first + kFirst * kLanes;
  METALHEAD_UNROLL
  for (int i = 0; i < kRows * kVectors; ++i) acc[i / kVectors][i % kVectors] = zero();
  using Fields = CodeFields<kBits, kParts>;
  const auto take = [&](Fields& row, const char* codes) __attribute__((always_inline)) {
    row.load(reinterpret_cast<const uint8_t*>(codes), sums.dim, first);
  };
  Fields fields, next;
  const char* at = values.data;
  if constexpr (kJoinsAhead<kBits>) take(next, at);
  for (int j = 0; j < values.count; ++j) {
    if constexpr (kJoinsAhead<kBits>) {
      fields = next;
      if (j + 1 < values.count) at += values.stride;
      take(next, at);
    } else {
      take(fields, at);
      at += values.stride;
    }
    ahead.next<kFetchedLines>();
    F32 weight[kRows];
    METALHEAD_UNROLL
    for (int r = 0; r < kRows; ++r) weight[r] = in_register(splat(weights[r * weight_stride + j]));
    for_each_part<kFirst, kStep, kVectors>([&]<int kPart>() __attribute__((always_inline)) {
      const F32 level = fields.template level<kPart>(table);
      METALHEAD_UNROLL
      for (int r = 0; r < kRows; ++r) {
        F32& sum = acc[r][kPart / kStep];
        sum = fma(weight[r], level, sum);
      }
    });
  }
  METALHEAD_UNROLL
  for (int i = 0; i < kRows * kVectors; ++i) {
    float* sum = to + i / kVectors * sums.stride + i % kVectors * kStep * kLanes;
    store(sum, load(sum) + acc[i / kVectors][i % kVectors]);
  }
}

/// Adds the weighted levels of the values to kRows rows of sums. Fetches `ahead`, rows of `ahead_bytes`.
template <int kBits, int kParts, int kRows>
inline __attribute__((noinline)) void add_packed_rows(const float* weights, int64_t weight_stride,
                                                      const StoredRows& values, const PackedSums& sums,
                                                      const StoredRows& ahead, int64_t ahead_bytes) {
  constexpr int kFit = kStreamSums / kRows < 8 ? kStreamSums / kRows : 8;
  constexpr int kPasses = kFit < kParts ? kParts / kFit : 1;
  // As many as rows of the same size take.
  constexpr int kPassBytes = kLanes * kParts * kBits / 8 / kPasses;
  constexpr int kLines = (kPassBytes + 63) / 64;
  const int64_t passes = sums.dim / (kParts * kLanes) * kPasses;
  SpreadFetch fetch = spread_fetch<kLines>(ahead, ahead_bytes, passes * values.count);
  for (int first = 0; first < sums.dim; first += kParts * kLanes) {
    for_each_part<0, 1, kPasses>([&]<int kPass>() __attribute__((always_inline)) {
      add_packed_columns<kBits, kParts, kRows, kPass, kPasses, kLines>(weights, weight_stride, values, sums,
                                                                       first, fetch);
    });
  }
}

/// Rows of one expanded tile: few enough that it stays in the nearest cache.
constexpr int kPackedTileRows = 16;

/// Expands the rows tile by tile into `tile` [kPackedTileRows][dim] and calls `use(tile_rows, first_row)`.
template <int kBits, int kParts, class Use>
METALHEAD_INLINE void for_each_expanded_tile(const StoredRows& rows, int dim, float* tile,
                                             const StoredRows& ahead, int64_t ahead_bytes, const Use& use) {
  const typename CodeFields<kBits, kParts>::Table table;
  const int64_t stride = int64_t{dim} * static_cast<int64_t>(sizeof(float));
  for (int first = 0; first < rows.count; first += kPackedTileRows) {
    const int count = static_cast<int>(smaller(kPackedTileRows, rows.count - first));
    for (int i = 0; i < count; ++i) {
      const char* codes = rows.data + (first + i) * rows.stride;
      fetch_rows(ahead, first + i, 1, ahead_bytes);
      expand_fields<kBits, kParts>(table, reinterpret_cast<const uint8_t*>(codes), dim,
                                   tile + int64_t{i} * dim);
    }
    use(StoredRows{reinterpret_cast<const char*>(tile), stride, count}, first);
  }
}

/// factors[i] = factor * norm of physical row first_row + i, for i < count; zeros up to the next multiple of
/// kLanes.
METALHEAD_INLINE void load_norms(const PackedSide& side, int64_t batch, int64_t kv_head, int64_t first_row,
                                 int count, float factor, float* factors) {
  const metalhead_long* strides = side.norm_strides;
  const int64_t item = element_bytes(side.norm_dtype);
  const char* from = side.norms + (batch * strides[0] + kv_head * strides[1] + first_row * strides[2]) * item;
  const int64_t padded = round_up(count, kLanes);
  if (strides[2] == 1) return load_row(factors, from, side.norm_dtype, count, padded, factor);
  for (int64_t i = 0; i < padded; ++i) factors[i] = 0.0f;
  for (int64_t i = 0; i < count; ++i)
    load_row(factors + i, from + i * strides[2] * item, side.norm_dtype, 1, 1, factor);
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
