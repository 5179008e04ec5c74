// Rows of K and V in memory, and the order in which a block of them is read.
#pragma once

#include "devices/cpu/kernels/attention_view.h"
#include "devices/cpu/kernels/simd.h"

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

/// Blocks of fewer bytes are read from front to back.
constexpr int64_t kLeastStreamedBytes = 32768;
/// Bytes of a stream that are asked for ahead of their use, so that loads find them in the nearest cache.
constexpr int64_t kBytesAhead = 512;

/// The places from which a block of rows is read in turn, as the hardware fetches ahead in each: eight of
/// them move up to a quarter more than one. Row i of stream s is row s * steps + i, for i < steps; others
/// follow.
struct Streams {
  int count, steps;
};

/// Streams of a block of keys: enough of them, and a multiple of the keys of a register tile.
METALHEAD_INLINE Streams key_streams(int rows, int64_t bytes, int tile_keys) {
  constexpr int kEnough = 8;
  const int count = tile_keys > kEnough ? tile_keys : kEnough;
  return {count, rows * bytes < kLeastStreamedBytes ? 0 : rows / count};
}

/// Streams of a block of values. Their steps are one more than a multiple of 8: values that follow each other
/// in a sum have places that follow each other modulo 2, 4 and 8, so that they cancel as they would in order.
METALHEAD_INLINE Streams value_streams(int rows, int64_t bytes) {
  constexpr int kCount = 7;  // of 512, 64 and 128 rows this leaves 1, 1 and 9 over
  const int steps = rows / kCount;
  return {kCount, rows * bytes < kLeastStreamedBytes || steps == 0 ? 0 : (steps - 1) / 8 * 8 + 1};
}

/// Rows of `bytes` that make kBytesAhead, at least one.
METALHEAD_INLINE int64_t rows_ahead(int64_t bytes) { return larger(1, kBytesAhead / bytes); }

METALHEAD_INLINE void prefetch(const char* p) { __builtin_prefetch(p, 0, 3); }

/// Asks for rows [first, first + count) of packed rows that will be wanted soon, if rows of `bytes` follow
/// each other closely: rows of other tokens in between are not wanted. Few at a time, as many requests at
/// once keep those that are wanted now waiting.
METALHEAD_INLINE void fetch_rows(const StoredRows& rows, int first, int count, int64_t bytes) {
  if (rows.stride != bytes) return;
  const int64_t end = smaller(first + count, rows.count) * bytes;
  for (int64_t at = first * bytes; at < end; at += 64) prefetch(rows.data + at);
}

/// Lines that are asked for one after the other while something else is computed, so that memory is busy all
/// the time.
struct SpreadFetch {
  const char* at;
  int64_t step;  ///< bytes

  template <int kLines>
  METALHEAD_INLINE void next() {
    METALHEAD_UNROLL
    for (int i = 0; i < kLines; ++i) prefetch(at + i * 64);
    at += step;
  }
};

/// Spreads packed rows of `bytes` over `requests` requests of kLines lines each. Asks for all of them at once
/// where those are too few.
template <int kLines>
METALHEAD_INLINE SpreadFetch spread_fetch(const StoredRows& rows, int64_t bytes, int64_t requests) {
  if (rows.stride != bytes) return {rows.data, 0};
  const int64_t step = (rows.count * bytes + requests - 1) / requests;
  if (step <= 64 * kLines) return {rows.data, step};
  fetch_rows(rows, 0, rows.count, bytes);
  return {rows.data, 0};
}

/// Asks for the first rows of each stream of a block whose rows take `bytes`.
METALHEAD_INLINE void fetch_heads(const StoredRows& rows, int64_t bytes, Streams streams) {
  const int64_t fetched = smaller(rows_ahead(bytes), streams.steps);
  const char* row = rows.data;
  for (int64_t i = 0; i < fetched; ++i, row += rows.stride) {
    for (const char *at = row, *end = row + bytes; at < end; at += 64) {
      const char* line = at;
      for (int s = 0; s < streams.count; ++s, line += streams.steps * rows.stride) prefetch(line);
    }
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
