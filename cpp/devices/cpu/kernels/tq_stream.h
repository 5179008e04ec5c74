// Rows of packed codes as tiles of float32 levels, and their norms as factors, for streaming over a cache once.
#pragma once

#include <cstdint>

#include "devices/cpu/kernels/attention_view.h"
#include "devices/cpu/kernels/row_storage.h"
#include "devices/cpu/kernels/stream_rows.h"
#include "devices/cpu/kernels/tq_levels.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Rows of one tile: few enough that it stays in the nearest cache.
constexpr int kPackedTileRows = 16;

/// Expands the rows tile by tile into `tile` [kPackedTileRows][dim] and calls `use(tile_rows, first_row)`.
template <int kBits, class Use>
METALHEAD_INLINE void for_each_expanded_tile(const StoredRows& rows, int dim, float* tile, const Use& use) {
  const LevelTable<kBits> table;
  const int64_t stride = int64_t{dim} * static_cast<int64_t>(sizeof(float));
  for (int first = 0; first < rows.count; first += kPackedTileRows) {
    const int count = static_cast<int>(smaller(kPackedTileRows, rows.count - first));
    for (int i = 0; i < count; ++i) {
      const char* codes = rows.data + (first + i) * rows.stride;
      table.expand_tile_row(reinterpret_cast<const uint8_t*>(codes), dim, tile + int64_t{i} * dim);
    }
    use(StoredRows{reinterpret_cast<const char*>(tile), stride, count}, first);
  }
}

/// factors[i] = factor * norm of physical row first_row + i, for i < count; zeros up to the next multiple of kLanes.
METALHEAD_INLINE void load_norms(const PackedSide& side, int64_t batch, int64_t kv_head, int64_t first_row, int count,
                                 float factor, float* factors) {
  const metalhead_long* strides = side.norm_strides;
  const int64_t item = element_bytes(side.norm_dtype);
  const char* from = side.norms + (batch * strides[0] + kv_head * strides[1] + first_row * strides[2]) * item;
  const int64_t padded = round_up(count, kLanes);
  if (strides[2] == 1) return load_row(factors, from, side.norm_dtype, count, padded, factor);
  for (int64_t i = 0; i < padded; ++i) factors[i] = 0.0f;
  for (int64_t i = 0; i < count; ++i) load_row(factors + i, from + i * strides[2] * item, side.norm_dtype, 1, 1, factor);
}

/// Coordinates of a rotated row into the order in which tiles are expanded; `row` and `from` differ.
METALHEAD_INLINE void to_tile_order(int bits, int dim, const float* from, float* row) {
  for (int i = 0; i < dim; ++i) row[i] = from[tile_coordinate(bits, dim, i)];
}

/// The inverse.
METALHEAD_INLINE void from_tile_order(int bits, int dim, const float* from, float* row) {
  for (int i = 0; i < dim; ++i) row[tile_coordinate(bits, dim, i)] = from[i];
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
