// Products of a few query rows with keys and values that are streamed from memory once, converted in
// registers.
#pragma once

#include "devices/cpu/kernels/attention_view.h"
#include "devices/cpu/kernels/gemm_tile.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Rows of K or V that follow each other at one distance.
struct StoredRows {
  const char* data;
  int64_t stride;  ///< bytes
  int count;
  int64_t first_row = 0;  ///< physical number of the first one in its head
};

/// Rows that will be wanted soon: fetched while others are worked on.
struct Prefetch {
  const char* data;  ///< nullptr: nothing
  int64_t stride;    ///< bytes
  int64_t bytes;     ///< of each row
  int count;
};

METALHEAD_INLINE void prefetch_row(const Prefetch& ahead, int row) {
  if (row >= ahead.count) return;
  const char* at = ahead.data + row * ahead.stride;
  for (int64_t i = 0; i < ahead.bytes; i += 64) __builtin_prefetch(at + i, 0, 2);
}

/// Accumulators of one register tile.
constexpr int kStreamSums = kVectorRegisters == 32 ? 16 : 8;

/// scores[r * score_stride + j] = scale * (query row r . key j) for kRows rows; writes up to the next
/// multiple of kStreamSums keys.
template <class T, int kRows>
inline __attribute__((noinline)) void dot_rows(const float* query, int64_t query_stride, int64_t head_dim,
                                               const StoredRows& keys, float scale, float* scores,
                                               int64_t score_stride, const Prefetch& ahead) {
  constexpr int kKeys = kStreamSums / kRows;
  const int64_t whole = head_dim / kLanes * kLanes;
  for (int first = 0; first < keys.count; first += kKeys) {
    const T* rows[kKeys];
    METALHEAD_UNROLL
    for (int j = 0; j < kKeys; ++j) {
      rows[j] = reinterpret_cast<const T*>(keys.data + smaller(first + j, keys.count - 1) * keys.stride);
    }
    if (ahead.data != nullptr) {
      for (int j = 0; j < kKeys; ++j) prefetch_row(ahead, first + j);
    }
    F32 sums[kStreamSums];
    METALHEAD_UNROLL
    for (int i = 0; i < kStreamSums; ++i) sums[i] = zero();
    const auto add = [&](int64_t dim, const F32(&k)[kKeys]) __attribute__((always_inline)) {
      METALHEAD_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const F32 q = load(query + r * query_stride + dim);
        METALHEAD_UNROLL
        for (int j = 0; j < kKeys; ++j) sums[r * kKeys + j] = fma(q, k[j], sums[r * kKeys + j]);
      }
    };
    for (int64_t dim = 0; dim < whole; dim += kLanes) {
      F32 k[kKeys];
      METALHEAD_UNROLL
      for (int j = 0; j < kKeys; ++j) k[j] = load(rows[j] + dim);
      add(dim, k);
    }
    if (whole < head_dim) {
      F32 k[kKeys];
      METALHEAD_UNROLL
      for (int j = 0; j < kKeys; ++j)
        k[j] = load_partial(rows[j] + whole, static_cast<int>(head_dim - whole));
      add(whole, k);
    }
    alignas(64) float dots[kStreamSums];
    METALHEAD_UNROLL
    for (int i = 0; i < kStreamSums; i += kLanes) {
      F32 part[kLanes];
      METALHEAD_UNROLL
      for (int l = 0; l < kLanes; ++l) part[l] = sums[i + l];
      store(dots + i, reduce_add_each(part) * splat(scale));
    }
    METALHEAD_UNROLL
    for (int r = 0; r < kRows; ++r) {
      __builtin_memcpy(scores + r * score_stride + first, dots + r * kKeys, kKeys * sizeof(float));
    }
  }
}

/// kVectors vectors of columns: sums[r][c] += sum over j of weights[r * weight_stride + j] * value j [c].
template <class T, int kRows, int kVectors>
METALHEAD_INLINE void add_columns(const float* weights, int64_t weight_stride, const StoredRows& values,
                                  int64_t column, int tail, float* sums, int64_t sums_stride,
                                  const Prefetch& ahead) {
  F32 acc[kRows][kVectors];
  METALHEAD_UNROLL
  for (int r = 0; r < kRows; ++r) {
    METALHEAD_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[r][v] = load(sums + r * sums_stride + column + v * kLanes);
  }
  const char* at = values.data + column * static_cast<int64_t>(sizeof(T));
  for (int j = 0; j < values.count; ++j, at += values.stride) {
    const T* row = reinterpret_cast<const T*>(at);
    if (ahead.data != nullptr) prefetch_row(ahead, j);
    F32 value[kVectors];
    METALHEAD_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      value[v] = kVectors == 1 && tail < kLanes ? load_partial(row, tail) : load(row + v * kLanes);
    }
    METALHEAD_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const F32 weight = splat(weights[r * weight_stride + j]);
      METALHEAD_UNROLL
      for (int v = 0; v < kVectors; ++v) acc[r][v] = fma(weight, value[v], acc[r][v]);
    }
  }
  METALHEAD_UNROLL
  for (int r = 0; r < kRows; ++r) {
    METALHEAD_UNROLL
    for (int v = 0; v < kVectors; ++v) store(sums + r * sums_stride + column + v * kLanes, acc[r][v]);
  }
}

/// Adds the weighted values to kRows rows of sums, which are padded to kLanes.
template <class T, int kRows>
inline __attribute__((noinline)) void add_rows(const float* weights, int64_t weight_stride,
                                               const StoredRows& values, int64_t value_dim, float* sums,
                                               int64_t sums_stride, const Prefetch& ahead) {
  constexpr int kVectors = kRows == 1 ? 8 : kStreamSums / kRows;
  const Prefetch nothing{};
  const Prefetch* now = &ahead;
  int64_t column = 0;
  for (; column + kVectors * kLanes <= value_dim; column += kVectors * kLanes, now = &nothing) {
    add_columns<T, kRows, kVectors>(weights, weight_stride, values, column, kLanes, sums, sums_stride, *now);
  }
  for (; column < value_dim; column += kLanes, now = &nothing) {
    const int tail = static_cast<int>(smaller(kLanes, value_dim - column));
    add_columns<T, kRows, 1>(weights, weight_stride, values, column, tail, sums, sums_stride, *now);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
