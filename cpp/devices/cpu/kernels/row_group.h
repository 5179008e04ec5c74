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
  int64_t query_stride, sums_stride;  ///< floats between rows
  float* query;                       ///< [rows][query_stride]
  float* sums;                        ///< [rows][sums_stride]
  float* maxima;                      ///< [rows in whole vectors]
  float* totals;                      ///< [rows in whole vectors]: sums of weights
  float* scores;                      ///< [rows][block_keys]
  float* tile;                        ///< of packed sides: [kPackedTileRows][dim], also one row
  float* norms;                       ///< of packed sides: [block_keys]
  float score_factor;                 ///< what a product of a query row and a stored key is multiplied by
};

/// Rows of the next register tile: 4, 2 or 1; three rows take a tile of four.
METALHEAD_INLINE int tile_rows(int rows_left) { return rows_left > 2 ? 4 : rows_left; }

/// Scores of dense keys.
template <class T>
void score_block(const RowGroup& group, const StoredRows& keys, Prefetch ahead) {
  const int64_t head_dim = group.view->params->head_dim;
  const float scale = group.score_factor;
  for (int r = 0; r < group.rows;) {
    const float* query = group.query + r * group.query_stride;
    float* scores = group.scores + r * group.block_keys;
    const int rows = tile_rows(group.rows - r);
    if (rows == 4)
      dot_rows<T, 4>(query, group.query_stride, head_dim, keys, scale, scores, group.block_keys, ahead);
    if (rows == 2)
      dot_rows<T, 2>(query, group.query_stride, head_dim, keys, scale, scores, group.block_keys, ahead);
    if (rows == 1)
      dot_rows<T, 1>(query, group.query_stride, head_dim, keys, scale, scores, group.block_keys, ahead);
    ahead.data = nullptr;
    r += rows;
  }
}

/// Adds the weighted dense values.
template <class T>
void add_block(const RowGroup& group, const StoredRows& values, Prefetch ahead) {
  const int64_t value_dim = group.view->params->value_dim;
  for (int r = 0; r < group.rows;) {
    const float* weights = group.scores + r * group.block_keys;
    float* sums = group.sums + r * group.sums_stride;
    const int rows = tile_rows(group.rows - r);
    if (rows == 4)
      add_rows<T, 4>(weights, group.block_keys, values, value_dim, sums, group.sums_stride, ahead);
    if (rows == 2)
      add_rows<T, 2>(weights, group.block_keys, values, value_dim, sums, group.sums_stride, ahead);
    if (rows == 1)
      add_rows<T, 1>(weights, group.block_keys, values, value_dim, sums, group.sums_stride, ahead);
    ahead.data = nullptr;
    r += rows;
  }
}

/// Scores of a block of keys, or the weighted sum of a block of values; `ahead` is fetched meanwhile.
using BlockFunction = void (*)(const RowGroup& group, const StoredRows& rows, Prefetch ahead);

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
