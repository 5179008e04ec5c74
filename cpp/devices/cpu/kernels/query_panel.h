// Queries as the register tiles of gemm_tile.h and pair_tile.h read them: the rows of a row tile beside each
// other.
#pragma once

#include "devices/cpu/kernels/row_block.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Floats of RowBlock::workspace that load_query_panel takes.
METALHEAD_INLINE int64_t query_panel_workspace(int64_t depth) { return kTileRows * round_up(depth, kLanes); }

/// to[column * count + r] = rows[r * stride + column] for r < count.
METALHEAD_INLINE void transpose_rows(const float* rows, int64_t stride, int count, float* to,
                                     int64_t columns) {
  for (int64_t column = 0; column < columns; column += kLanes) {
    for (int first = 0; first < count; first += kLanes) {
      const int taken = static_cast<int>(smaller(kLanes, count - first));
      F32 block[kLanes];
      METALHEAD_UNROLL
      for (int r = 0; r < kLanes; ++r) {
        block[r] = r < taken ? load(rows + (first + r) * stride + column) : zero();
      }
      transpose(block);
      for (int c = 0; c < kLanes && column + c < columns; ++c) {
        store_partial(to + (column + c) * count + first, block[c], taken);
      }
    }
  }
}

/// The queries of the row tile that starts at row `first`. `load_query(row, to, width)` writes one of them as
/// `width` places, zeros past the block's depth.
template <class LoadQuery>
METALHEAD_INLINE void load_query_panel(const RowBlock& block, int first, LoadQuery load_query) {
  const int64_t depth = block.tile.query_depth, width = round_up(depth, kLanes);
  for (int r = 0; r < kTileRows; ++r) {
    float* row = block.workspace + r * width;
    if (first + r < block.rows) {
      load_query(block.query_rows[first + r], row, width);
    } else {
      __builtin_memset(row, 0, static_cast<size_t>(width) * sizeof(float));
    }
  }
  transpose_rows(block.workspace, width, kTileRows, block.query + first * depth, depth);
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
