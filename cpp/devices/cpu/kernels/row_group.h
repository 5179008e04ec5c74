// The query rows that share a KV head in decode, and what a block of dense keys or values does to them.
#pragma once

#include "devices/cpu/kernels/attention_row.h"
#include "devices/cpu/kernels/stream_rows.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// The rows of one KV head in one sequence, and the worker's memory for them.
struct RowGroup {
  const AttentionView* view;
  Sequence sequence;
  int64_t kv_head;
  int rows;
  int block_keys;
  int64_t query_stride, sums_stride;  ///< floats of a row
  float* query;                       ///< tiles of rows as of interleave_rows
  float* row_tile;                    ///< [kMaxTileRows][query_stride]: rows before they are interleaved
  float* sums;                        ///< [rows][sums_stride]
  float* maxima;                      ///< [rows in whole vectors]
  float* totals;                      ///< [rows in whole vectors]: sums of weights
  float* scores;                      ///< [rows][block_keys]
  QueryRow* query_rows;               ///< [rows]
  bool has_plain_scores;
  float* tile;         ///< of packed sides: [kPackedTileRows][dim]
  float* factors;      ///< of packed sides: factors of the levels of each row, [block_keys + 16]
  float score_factor;  ///< what a product of a query row and a stored key is multiplied by
};

constexpr int kMaxTileRows = kStreamSums / 2;

/// Rows of the next register tile: 8 where there are registers for them, 4, 2 or 1; three rows take a tile of
/// four.
METALHEAD_INLINE int tile_rows(int rows_left) {
  if (kStreamSums == 16 && rows_left > 6) return 8;
  return rows_left > 2 ? 4 : rows_left;
}

/// Calls `use.template operator()<kRows>(first_row)` for the register tiles of `rows` rows.
template <class Use>
METALHEAD_INLINE void for_each_row_tile(int rows, const Use& use) {
  for (int first = 0, taken; first < rows; first += taken) {
    taken = tile_rows(rows - first);
    if constexpr (kMaxTileRows == 8) {
      if (taken == 8) use.template operator()<8>(first);
    }
    if (taken == 4) use.template operator()<4>(first);
    if (taken == 2) use.template operator()<2>(first);
    if (taken == 1) use.template operator()<1>(first);
  }
}

/// Scores of dense keys.
template <class T>
void score_block(const RowGroup& group, const StoredRows& keys, const StoredRows& ahead) {
  for_each_row_tile(group.rows, [&]<int kRows>(int first) {
    // The first tile fetches what comes next; for the others that has been done.
    dot_rows<T, kRows>(group.query + first * group.query_stride, group.view->params->head_dim, keys,
                       group.score_factor, group.scores + first * group.block_keys, group.block_keys,
                       first == 0 ? ahead : keys);
  });
}

/// Adds the weighted dense values.
template <class T>
void add_block(const RowGroup& group, const StoredRows& values, const StoredRows& /*ahead*/) {
  for_each_row_tile(group.rows, [&]<int kRows>(int first) {
    add_rows<T, kRows>(group.scores + first * group.block_keys, group.block_keys, values,
                       group.view->params->value_dim, group.sums + first * group.sums_stride,
                       group.sums_stride);
  });
}

/// Scores of a block of keys, or the weighted sum of a block of values; `ahead` is fetched meanwhile.
using BlockFunction = void (*)(const RowGroup& group, const StoredRows& rows, const StoredRows& ahead);

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
