// Row blocks one after the other: tiles of keys are laid out, meet all rows of a block, and finished rows are
// written.
#pragma once

#include "devices/cpu/kernels/row_block.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Writes the rows of the row tile that starts at row `first`.
template <class Tiles>
void write_rows(const RowBlock& block, int first) {
  const AttentionView& view = *block.view;
  const int value_dim = view.params->value_dim;
  const float scale = view.rotate_out ? rotation_factor(value_dim) : 1.0f;
  const int end = static_cast<int>(smaller(first + Tiles::kRows, block.rows));
  for (int r = first; r < end; ++r) {
    const int at = r / Tiles::kRows * kStatsStride<Tiles> + r % Tiles::kRows;
    float* sums = block.sums + r * block.sums_stride;
    if (view.rotate_out) rotate_row(sums, value_dim, block.out_signs, scale, true);
    write_rotated_row(view, block.query_rows[r], sums, {block.maxima[at], block.totals[at]});
  }
}

template <class Tiles>
void attend_block(const Tiles& tiles, RowBlock& block) {
  begin_block<Tiles>(block);
  // Both ends of what is visible grow with the row.
  const KeyRange visible{block.query_rows[0].visible.begin, block.query_rows[block.rows - 1].visible.end};
  int written = 0;
  for (int64_t key = visible.begin; key < visible.end; key += block.tile.keys) {
    const int count = static_cast<int>(smaller(block.tile.keys, visible.end - key));
    const TileRequest request{block.view, &block.sequence, block.kv_head, key, count};
    take_tile(block, key);
    if (!block.kept->keeps(key, count)) tiles.load_tile(request, block);
    const bool is_first = key == visible.begin;
    for (int first = written; first < block.rows; first += Tiles::kRows) {
      const int last = static_cast<int>(smaller(first + Tiles::kRows, block.rows)) - 1;
      const bool is_last = block.query_rows[last].visible.end <= key + count;
      if (is_first) tiles.load_queries(block, first);
      tiles.attend_rows(block, first, key, count);
      if (!is_last) continue;
      write_rows<Tiles>(block, first);
      written = first + Tiles::kRows;
    }
  }
  // Without any visible key nothing was written.
  for (; written < block.rows; written += Tiles::kRows) write_rows<Tiles>(block, written);
}

/// The row blocks [begin, end) of a launch. `Tiles` says how queries, keys and values are stored and
/// multiplied.
template <class Tiles>
void attend_blocks(const Tiles& tiles, const AttentionView& view, uint64_t begin, uint64_t end,
                   Scratch& scratch) {
  const Launch& launch = *view.launch;
  RowBlock block{};
  block.view = &view;
  block.tile = Tiles::shape(*view.params);
  block.has_plain_scores = has_plain_scores(view);
  allocate<Tiles>(block, scratch);
  const int64_t all_rows = view.group * view.params->query_length;
  for (uint64_t index = begin; index < end; ++index) {
    const GridPosition at = grid_position(launch, index);
    // The last rows see the most keys: they start first, so that threads end together.
    block.first_row = (int64_t{launch.grid.x} - 1 - at.x) * view.params->rows_per_group;
    block.rows = static_cast<int>(smaller(view.params->rows_per_group, all_rows - block.first_row));
    block.kept->turn_to(at.z, at.y);
    block.kv_head = at.y;
    block.sequence = sequence_of(view, at.z);
    if (block.rows > 0) attend_block(tiles, block);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
