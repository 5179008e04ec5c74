// Products of a few query rows with keys and values that are streamed from memory once, converted in
// registers.
#pragma once

#include "devices/cpu/kernels/attention_view.h"
#include "devices/cpu/kernels/gemm_tile.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// A row, and the distance of those that follow it.
struct RowAddress {
  const char* data;
  int64_t stride;  ///< bytes
  METALHEAD_INLINE const char* at(int64_t row) const { return data + row * stride; }
};

/// Rows of K or V that follow each other at one distance.
struct StoredRows {
  const char* data;
  int64_t stride;  ///< bytes
  int count;
  int64_t first_row = 0;  ///< physical number of the first one in its head

  METALHEAD_INLINE RowAddress from(int64_t row) const { return {data + row * stride, stride}; }
};

/// Accumulators of one register tile.
constexpr int kStreamSums = kVectorRegisters == 32 ? 16 : 8;

// bfloat16 widens most cheaply as the values at even and at odd places. Query rows and sums that meet it keep
// that order in every whole pair of vectors: first the even places, then the odd ones.
template <class T>
inline constexpr bool kSplitsPairs = false;
template <>
inline constexpr bool kSplitsPairs<BFloat16> = true;

/// Vector `half` (0 or 1) of the 2 * kLanes values at p, in the order that belongs to the type.
template <class T>
METALHEAD_INLINE F32 load_half(const T* p, int half) {
  if constexpr (kSplitsPairs<T>) {
    return half == 0 ? load_even(p) : load_odd(p);
  } else {
    return load(p + half * kLanes);
  }
}

/// Brings the whole pairs of vectors of a row of floats into split order, or back.
METALHEAD_INLINE void split_pairs(float* row, int64_t count) {
  for (int64_t i = 0; i + 2 * kLanes <= count; i += 2 * kLanes) {
    float copy[2 * kLanes];
    __builtin_memcpy(copy, row + i, sizeof(copy));
    for (int l = 0; l < kLanes; ++l) {
      row[i + l] = copy[2 * l];
      row[i + kLanes + l] = copy[2 * l + 1];
    }
  }
}
METALHEAD_INLINE void join_pairs(float* row, int64_t count) {
  for (int64_t i = 0; i + 2 * kLanes <= count; i += 2 * kLanes) {
    float copy[2 * kLanes];
    __builtin_memcpy(copy, row + i, sizeof(copy));
    for (int l = 0; l < kLanes; ++l) {
      row[i + 2 * l] = copy[l];
      row[i + 2 * l + 1] = copy[kLanes + l];
    }
  }
}

METALHEAD_INLINE void prefetch(const char* p) { __builtin_prefetch(p, 0, 2); }

/// dots[i] = factor * the sum of the lanes of sums[i].
METALHEAD_INLINE void store_lane_sums(const F32 (&sums)[kStreamSums], float factor, float* dots) {
  METALHEAD_UNROLL
  for (int i = 0; i < kStreamSums; i += kLanes) {
    F32 part[kLanes];
    METALHEAD_UNROLL
    for (int l = 0; l < kLanes; ++l) part[l] = sums[i + l];
    store(dots + i, reduce_add_each(part) * splat(factor));
  }
}

/// Query rows of a register tile: vector i of row r is number i * kRows + r, so that one address leads to
/// all. `from` are kRows rows of whole vectors at distance `stride`.
METALHEAD_INLINE void interleave_rows(const float* from, int64_t stride, int rows, float* tile) {
  for (int64_t i = 0; i < stride; i += kLanes) {
    for (int r = 0; r < rows; ++r) store(tile + i * rows + r * kLanes, load(from + r * stride + i));
  }
}

/// sums[r * kKeys + j] = query row r . key j, lane by lane, for the first keys of `keys`. Fetches the first
/// of `ahead` meanwhile.
template <class T, int kRows, int kKeys>
METALHEAD_INLINE void dot_tile(const float* query, int64_t head_dim, RowAddress keys, RowAddress ahead,
                               F32 (&sums)[kStreamSums]) {
  METALHEAD_UNROLL
  for (int i = 0; i < kStreamSums; ++i) sums[i] = zero();
  const auto add = [&](int vector, const F32(&k)[kKeys]) __attribute__((always_inline)) {
    METALHEAD_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const F32 q = load(query + (vector * kRows + r) * kLanes);
      METALHEAD_UNROLL
      for (int j = 0; j < kKeys; ++j) sums[r * kKeys + j] = fma(q, k[j], sums[r * kKeys + j]);
    }
  };
  const auto key = [&](int j)
                       __attribute__((always_inline)) { return reinterpret_cast<const T*>(keys.at(j)); };
  constexpr int64_t kBytes = kLanes * sizeof(T);
  F32 k[kKeys];
  int64_t left = head_dim;
  for (; left >= 2 * kLanes; left -= 2 * kLanes) {
    METALHEAD_UNROLL
    for (int half = 0; half < 2; ++half) {
      METALHEAD_UNROLL
      for (int j = 0; j < kKeys; ++j) k[j] = load_half(key(j), half);
      // A vector of a narrow type takes half a cache line.
      if (half == 0 || sizeof(T) == 4) {
        METALHEAD_UNROLL
        for (int j = 0; j < kKeys; ++j) prefetch(ahead.at(j) + half * kBytes);
      }
      add(half, k);
    }
    query += 2 * kRows * kLanes;
    keys.data += 2 * kBytes;
    ahead.data += 2 * kBytes;
  }
  for (; left > 0; left -= kLanes) {
    const int count = static_cast<int>(smaller(kLanes, left));
    METALHEAD_UNROLL
    for (int j = 0; j < kKeys; ++j) k[j] = count == kLanes ? load(key(j)) : load_partial(key(j), count);
    add(0, k);
    query += kRows * kLanes;
    keys.data += kBytes;
  }
}

/// scores[r * score_stride + j] = scale * (query row r . key j) for kRows rows, which interleave_rows has
/// laid out. Fetches `ahead` while it goes.
template <class T, int kRows>
inline __attribute__((noinline)) void dot_rows(const float* query, int64_t head_dim, const StoredRows& keys,
                                               float scale, float* scores, int64_t score_stride,
                                               const StoredRows& ahead) {
  constexpr int kKeys = kStreamSums / kRows;
  F32 sums[kStreamSums];
  alignas(64) float dots[kStreamSums];
  int first = 0;
  for (; first + kKeys <= keys.count; first += kKeys) {
    const int64_t fetched = smaller(first, larger(0, ahead.count - kKeys));
    dot_tile<T, kRows, kKeys>(query, head_dim, keys.from(first), ahead.from(fetched), sums);
    store_lane_sums(sums, scale, dots);
    METALHEAD_UNROLL
    for (int r = 0; r < kRows; ++r)
      __builtin_memcpy(scores + r * score_stride + first, dots + r * kKeys, kKeys * sizeof(float));
  }
  for (; first < keys.count; ++first) {
    dot_tile<T, kRows, 1>(query, head_dim, keys.from(first), keys.from(first), sums);
    store_lane_sums(sums, scale, dots);
    METALHEAD_UNROLL
    for (int r = 0; r < kRows; ++r) scores[r * score_stride + first] = dots[r];
  }
}

/// kVectors vectors of columns: sums[r][c] += sum over j of weights[r * weight_stride + j] * value j [c]. The
/// values are summed up by themselves first: few roundings follow each other in a long row.
template <class T, int kRows, int kVectors>
METALHEAD_INLINE void add_columns(const float* weights, int64_t weight_stride, const StoredRows& values,
                                  int64_t column, int count, float* sums, int64_t sums_stride,
                                  const StoredRows& ahead) {
  F32 acc[kRows][kVectors];
  METALHEAD_UNROLL
  for (int r = 0; r < kRows; ++r) {
    METALHEAD_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[r][v] = zero();
  }
  const int64_t offset = column * static_cast<int64_t>(sizeof(T));
  const char* at = values.data + offset;
  const char* ahead_at = ahead.data + offset;
  for (int j = 0; j < values.count; ++j, at += values.stride, ahead_at += ahead.stride) {
    const T* row = reinterpret_cast<const T*>(at);
    METALHEAD_UNROLL
    for (int i = 0; i < kVectors * kLanes * static_cast<int>(sizeof(T)); i += 64) prefetch(ahead_at + i);
    F32 value[kVectors];
    METALHEAD_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (kVectors == 1) {
        value[v] = count == kLanes ? load(row) : load_partial(row, count);
      } else {
        value[v] = load_half(row + v / 2 * 2 * kLanes, v % 2);
      }
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
    for (int v = 0; v < kVectors; ++v) {
      float* to = sums + r * sums_stride + column + v * kLanes;
      store(to, load(to) + acc[r][v]);
    }
  }
}

/// Adds the weighted values to kRows rows of sums, which are padded to kLanes.
template <class T, int kRows>
inline __attribute__((noinline)) void add_rows(const float* weights, int64_t weight_stride,
                                               const StoredRows& values, int64_t value_dim, float* sums,
                                               int64_t sums_stride, const StoredRows& ahead) {
  constexpr int kVectors = kRows == 1 ? 8 : kStreamSums / kRows;
  int64_t column = 0;
  for (; column + kVectors * kLanes <= value_dim; column += kVectors * kLanes) {
    add_columns<T, kRows, kVectors>(weights, weight_stride, values, column, kLanes, sums, sums_stride, ahead);
  }
  if constexpr (kVectors > 4) {
    for (; column + 4 * kLanes <= value_dim; column += 4 * kLanes) {
      add_columns<T, kRows, 4>(weights, weight_stride, values, column, kLanes, sums, sums_stride, ahead);
    }
  }
  for (; kVectors > 2 && column + 2 * kLanes <= value_dim; column += 2 * kLanes) {
    add_columns<T, kRows, 2>(weights, weight_stride, values, column, kLanes, sums, sums_stride, ahead);
  }
  for (; column < value_dim; column += kLanes) {
    const int count = static_cast<int>(smaller(kLanes, value_dim - column));
    add_columns<T, kRows, 1>(weights, weight_stride, values, column, count, sums, sums_stride, ahead);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
