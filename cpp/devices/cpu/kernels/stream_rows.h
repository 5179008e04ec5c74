// Products of a few query rows with keys and values that are streamed from memory once, converted in
// registers.
#pragma once

#include "devices/cpu/kernels/gemm_tile.h"
#include "devices/cpu/kernels/pair_order.h"
#include "devices/cpu/kernels/row_streams.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Accumulators of one register tile.
constexpr int kStreamSums = kVectorRegisters == 32 ? 16 : 8;

/// dots[i] = the sum of the lanes of sums[i], times lane i % kLanes of factor(i / kLanes * kLanes).
template <class Factor>
METALHEAD_INLINE void store_lane_sums(const F32 (&sums)[kStreamSums], const Factor& factor, float* dots) {
  METALHEAD_UNROLL
  for (int i = 0; i < kStreamSums; i += kLanes) {
    F32 part[kLanes];
    METALHEAD_UNROLL
    for (int l = 0; l < kLanes; ++l) part[l] = sums[i + l];
    store(dots + i, reduce_add_each(part) * factor(i));
  }
}

/// Query rows of a register tile: vector i of row r is number i * kRows + r, so that one address leads to
/// all. `from` are kRows rows of whole vectors at distance `stride`.
METALHEAD_INLINE void interleave_rows(const float* from, int64_t stride, int rows, float* tile) {
  for (int64_t i = 0; i < stride; i += kLanes) {
    for (int r = 0; r < rows; ++r) store(tile + i * rows + r * kLanes, load(from + r * stride + i));
  }
}

/// sums[r * kKeys + j] = query row r . key j, lane by lane, for the first keys of `keys`. Fetches what lies
/// `ahead` bytes after each meanwhile.
template <class T, int kRows, int kKeys>
METALHEAD_INLINE void dot_tile(const float* query, int64_t head_dim, RowAddress keys, int64_t ahead,
                               F32 (&sums)[kStreamSums]) {
  METALHEAD_UNROLL
  for (int i = 0; i < kStreamSums; ++i) sums[i] = zero();
  const auto add = [&](int vector, const F32(&k)[kKeys]) __attribute__((always_inline)) {
    METALHEAD_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const F32 q = in_register(load(query + (vector * kRows + r) * kLanes));
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
        for (int j = 0; j < kKeys; ++j) prefetch(keys.at(j) + ahead + half * kBytes);
      }
      add(half, k);
    }
    query += 2 * kRows * kLanes;
    keys.data += 2 * kBytes;
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
/// laid out. Keys that are not in streams fetch `ahead` while they are read.
template <class T, int kRows>
inline __attribute__((noinline)) void dot_rows(const float* query, int64_t head_dim, const StoredRows& keys,
                                               float scale, float* scores, int64_t score_stride,
                                               const StoredRows& ahead) {
  constexpr int kKeys = kStreamSums / kRows;
  const int64_t bytes = head_dim * static_cast<int64_t>(sizeof(T));
  const int64_t in_stream = keys.stride * rows_ahead(bytes);
  F32 sums[kStreamSums];
  alignas(64) float dots[kStreamSums];
  const auto factor = [&](int) __attribute__((always_inline)) { return splat(scale); };
  const auto [streams, steps] = key_streams(keys.count, bytes, kKeys);
  for (int step = 0; step < steps; ++step) {
    for (int stream = 0; stream < streams; stream += kKeys) {
      const int at = stream * steps + step;
      dot_tile<T, kRows, kKeys>(query, head_dim, {keys.from(at).data, keys.stride * steps}, in_stream, sums);
      store_lane_sums(sums, factor, dots);
      METALHEAD_UNROLL
      for (int i = 0; i < kRows * kKeys; ++i)
        scores[i / kKeys * score_stride + at + i % kKeys * steps] = dots[i];
    }
  }
  int first = steps * streams;
  for (; first + kKeys <= keys.count; first += kKeys) {
    const int64_t to_ahead =
        first + kKeys <= ahead.count ? ahead.from(first).data - keys.from(first).data : 0;
    dot_tile<T, kRows, kKeys>(query, head_dim, keys.from(first), to_ahead, sums);
    store_lane_sums(sums, factor, dots);
    METALHEAD_UNROLL
    for (int r = 0; r < kRows; ++r)
      __builtin_memcpy(scores + r * score_stride + first, dots + r * kKeys, kKeys * sizeof(float));
  }
  for (; first < keys.count; ++first) {
    dot_tile<T, kRows, 1>(query, head_dim, keys.from(first), 0, sums);
    store_lane_sums(sums, factor, dots);
    METALHEAD_UNROLL
    for (int r = 0; r < kRows; ++r) scores[r * score_stride + first] = dots[r];
  }
}

/// Bytes of values that stay in the nearest cache while their columns are added one part after the other, and
/// how many of them are summed up by themselves at most: few roundings follow each other in a long row.
constexpr int64_t kSummedBytes = 16384;
constexpr int kMostSummedValues = 128;

/// Values of `streams` streams, and where their weights lie.
struct ValueStreams {
  const char* data;
  int64_t stride, stream_stride;  ///< bytes between rows of a stream, and between streams
  int streams, steps;
  const float* weights;
  int64_t weight_stride;  ///< floats between query rows
  int weight_step;        ///< floats between streams
};

/// kVectors vectors of columns: sums[r][c] += sum over the values of weight[r] * value[c]. Fetches the same
/// columns `ahead` bytes after each value meanwhile.
template <class T, int kRows, int kVectors>
METALHEAD_INLINE void add_columns(const ValueStreams& values, int64_t column, int count, float* sums,
                                  int64_t sums_stride, int64_t ahead) {
  F32 acc[kRows][kVectors];
  METALHEAD_UNROLL
  for (int r = 0; r < kRows; ++r) {
    METALHEAD_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[r][v] = zero();
  }
  const char* first = values.data + column * static_cast<int64_t>(sizeof(T));
  for (int step = 0; step < values.steps; ++step, first += values.stride) {
    const char* at = first;
    const float* weights = values.weights + step;
    for (int s = 0; s < values.streams; ++s, at += values.stream_stride, weights += values.weight_step) {
      const T* row = reinterpret_cast<const T*>(at);
      METALHEAD_UNROLL
      for (int i = 0; i < kVectors * kLanes * static_cast<int>(sizeof(T)); i += 64) prefetch(at + ahead + i);
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
        const F32 weight = in_register(splat(weights[r * values.weight_stride]));
        METALHEAD_UNROLL
        for (int v = 0; v < kVectors; ++v) acc[r][v] = fma(weight, value[v], acc[r][v]);
      }
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

/// All columns of values.
template <class T, int kRows>
METALHEAD_INLINE void add_streams(const ValueStreams& values, int64_t value_dim, float* sums,
                                  int64_t sums_stride, int64_t ahead) {
  constexpr int kVectors = kRows == 1 ? 8 : kStreamSums / kRows;
  int64_t column = 0;
  for (; column + kVectors * kLanes <= value_dim; column += kVectors * kLanes) {
    add_columns<T, kRows, kVectors>(values, column, kLanes, sums, sums_stride, ahead);
  }
  if constexpr (kVectors > 4) {
    for (; column + 4 * kLanes <= value_dim; column += 4 * kLanes) {
      add_columns<T, kRows, 4>(values, column, kLanes, sums, sums_stride, ahead);
    }
  }
  for (; kVectors > 2 && column + 2 * kLanes <= value_dim; column += 2 * kLanes) {
    add_columns<T, kRows, 2>(values, column, kLanes, sums, sums_stride, ahead);
  }
  for (; column < value_dim; column += kLanes) {
    const int count = static_cast<int>(smaller(kLanes, value_dim - column));
    add_columns<T, kRows, 1>(values, column, count, sums, sums_stride, ahead);
  }
}

/// Adds the weighted values to kRows rows of sums, which are padded to kLanes.
template <class T, int kRows>
inline __attribute__((noinline)) void add_rows(const float* weights, int64_t weight_stride,
                                               const StoredRows& values, int64_t value_dim, float* sums,
                                               int64_t sums_stride) {
  const int64_t bytes = value_dim * static_cast<int64_t>(sizeof(T));
  const auto [streams, steps] = value_streams(values.count, bytes);
  const int64_t together = larger(1, smaller(kMostSummedValues, kSummedBytes / bytes) / streams);
  // Many rows go over values in many parts: each of them fetches its share of what comes next.
  const int64_t ahead = values.stride * larger(rows_ahead(bytes), kRows > 4 ? together : 1);
  for (int64_t step = 0; step < steps; step += together) {
    const int taken = static_cast<int>(smaller(together, steps - step));
    const ValueStreams part{
        values.from(step).data, values.stride, values.stride * steps, streams, taken, weights + step,
        weight_stride,          steps};
    add_streams<T, kRows>(part, value_dim, sums, sums_stride, ahead);
  }
  for (int first = streams * steps; first < values.count; first += kMostSummedValues) {
    const int taken = static_cast<int>(smaller(kMostSummedValues, values.count - first));
    const ValueStreams part{values.from(first).data, 0, values.stride, taken, 1, weights + first,
                            weight_stride,           1};
    add_streams<T, kRows>(part, value_dim, sums, sums_stride, ahead);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
