// Attention for many query rows: tiles of keys and values as panels, register-tiled products, online softmax
// between them.
#include "devices/cpu/kernels/attention_row.h"
#include "devices/cpu/kernels/gemm_tile.h"
#include "devices/cpu/kernels/kernels.h"
#include "devices/cpu/kernels/scratch_layout.h"
#include "devices/cpu/kernels/tile_loader.h"
#include "devices/cpu/kernels/tq_tile_loader.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {
namespace {

constexpr int kMaxTileKeys = 256;
/// Floats that a tile of keys, and one of values, may take: the two together stay in a 1 MiB L2 cache beside
/// the rows.
constexpr int64_t kTileFloats = 32768;
/// Floats between rows of scores: not a power of two, so that rows of one column fall into different cache
/// sets.
constexpr int kScoreStride = kMaxTileKeys + 16;

/// A block of query rows of the heads that share a KV head, and the worker's memory for it.
struct RowBlock {
  const AttentionView* view;
  Sequence sequence;
  int64_t kv_head;
  int64_t first_row;
  int rows;
  int tile_keys;
  int64_t sums_stride;  ///< floats between rows of `sums`
  float* query;         ///< panels [head_dim][kTileRows] of kTileRows rows, scaled
  float* sums;          ///< [rows][sums_stride]: weighted values so far
  float* stats;         ///< [rows] RowStats
  float* keys;          ///< key panels of a tile
  float* values;        ///< value panels of a tile
  float* scores;        ///< [kTileRows][kScoreStride]
};

METALHEAD_INLINE RowStats* stats_of(const RowBlock& block) {
  return reinterpret_cast<RowStats*>(block.stats);
}

METALHEAD_INLINE int tile_keys_for(const AttentionParams& params) {
  const int64_t wider = larger(params.head_dim, params.value_dim);
  const int64_t keys = kTileFloats / wider / kPanelWidth * kPanelWidth;
  return static_cast<int>(larger(kPanelWidth, smaller(kMaxTileKeys, keys)));
}

void allocate(RowBlock& block, Scratch& scratch) {
  const AttentionParams& params = *block.view->params;
  const int64_t all_rows = block.view->group * params.query_length;
  const int64_t rows = round_up(smaller(params.rows_per_group, all_rows), kTileRows);
  const int64_t value_width = round_up(params.value_dim, kPanelWidth);
  block.tile_keys = tile_keys_for(params);
  block.sums_stride = value_width + 16;
  ScratchLayout layout;
  const int64_t query = layout.add(rows * params.head_dim), sums = layout.add(rows * block.sums_stride);
  const int64_t stats = layout.add(rows * 2), keys = layout.add(int64_t{block.tile_keys} * params.head_dim);
  const int64_t values = layout.add(block.tile_keys * value_width),
                scores = layout.add(kTileRows * kScoreStride);
  float* memory = layout.reserve(scratch);
  block.query = memory + query;
  block.sums = memory + sums;
  block.stats = memory + stats;
  block.keys = memory + keys;
  block.values = memory + values;
  block.scores = memory + scores;
}

/// Queries times scale, kTileRows rows beside each other: the order in which gemm_tile reads them.
void load_queries(const RowBlock& block) {
  const AttentionView& view = *block.view;
  const int64_t head_dim = view.params->head_dim;
  float* row_copy = block.keys;  // not in use yet
  for (int r = 0; r < static_cast<int>(round_up(block.rows, kTileRows)); ++r) {
    float* panel = block.query + r / kTileRows * kTileRows * head_dim + r % kTileRows;
    if (r >= block.rows) {
      for (int64_t d = 0; d < head_dim; ++d) panel[d * kTileRows] = 0.0f;
      continue;
    }
    const QueryRow row = query_row_of(view, block.sequence, block.kv_head, block.first_row + r);
    load_row(row_copy, query_address(view, row), view.query_dtype, head_dim, head_dim, view.params->scale);
    if (view.rotate_query) hadamard_row(row_copy, static_cast<int>(head_dim), view.params->key_signs, false);
    for (int64_t d = 0; d < head_dim; ++d) panel[d * kTileRows] = row_copy[d];
  }
}

void clear_sums(const RowBlock& block) {
  const int64_t rows = round_up(block.rows, kTileRows);
  __builtin_memset(block.sums, 0, static_cast<size_t>(rows * block.sums_stride) * sizeof(float));
  for (int64_t r = 0; r < rows; ++r) stats_of(block)[r] = RowStats{};
}

/// Softmax of the scores of keys first_key + [begin, end) in each row of a row tile; fills `shrink`.
METALHEAD_INLINE void weigh(const RowBlock& block, int first, int rows, int begin, int end, int64_t first_key,
                            float* shrink) {
  for (int i = 0; i < rows; ++i) {
    const QueryRow row =
        query_row_of(*block.view, block.sequence, block.kv_head, block.first_row + first + i);
    float* scores = block.scores + i * kScoreStride;
    finish_scores(*block.view, row, scores, begin, end, first_key);
    shrink[i] = softmax_step(scores, begin, end, stats_of(block)[first + i]);
  }
}

/// One tile of keys and values against the row tile that starts at row `first` of the block.
void attend_row_tile(const RowBlock& block, int first, int64_t first_key, int count) {
  const AttentionParams& params = *block.view->params;
  const int rows = static_cast<int>(smaller(kTileRows, block.rows - first));
  const int64_t top_row = (block.first_row + first) / block.view->group;
  const int64_t bottom_row = (block.first_row + first + rows - 1) / block.view->group;
  const KeyRange visible = visible_keys(params, block.sequence, top_row, bottom_row);
  const int64_t low = larger(0, visible.begin - first_key);
  const int64_t high = smaller(count, visible.end - first_key);
  if (low >= high) return;
  const int begin = static_cast<int>(low) / kPanelWidth * kPanelWidth, end = static_cast<int>(high);

  gemm_rows<1, kTileRows>(rows, end - begin, block.query + first * params.head_dim,
                          block.keys + begin * params.head_dim, params.head_dim * kPanelWidth,
                          params.head_dim, block.scores + begin, kScoreStride, nullptr);
  float shrink[kTileRows] = {};
  weigh(block, first, rows, begin, end, first_key, shrink);
  gemm_rows<kScoreStride, 1>(rows, params.value_dim, block.scores + begin, block.values + begin * kPanelWidth,
                             int64_t{block.tile_keys} * kPanelWidth, end - begin,
                             block.sums + first * block.sums_stride, block.sums_stride, shrink);
}

void write_rows(const RowBlock& block) {
  for (int r = 0; r < block.rows; ++r) {
    const QueryRow row = query_row_of(*block.view, block.sequence, block.kv_head, block.first_row + r);
    write_row(*block.view, row, block.sums + r * block.sums_stride, stats_of(block)[r]);
  }
}

void attend_block(const RowBlock& block, TileLoader load_keys, TileLoader load_values) {
  const AttentionParams& params = *block.view->params;
  load_queries(block);
  clear_sums(block);
  const int64_t top_row = block.first_row / block.view->group;
  const int64_t bottom_row = (block.first_row + block.rows - 1) / block.view->group;
  const KeyRange visible = visible_keys(params, block.sequence, top_row, bottom_row);
  for (int64_t key = visible.begin; key < visible.end; key += block.tile_keys) {
    const int count = static_cast<int>(smaller(block.tile_keys, visible.end - key));
    const TileRequest request{block.view, &block.sequence, block.kv_head, key, count};
    load_keys(request, params.head_dim, block.keys);
    load_values(request, block.tile_keys, block.values);
    for (int first = 0; first < block.rows; first += kTileRows) attend_row_tile(block, first, key, count);
  }
  write_rows(block);
}

}  // namespace

void sdpa(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch) {
  const AttentionView view = view_of(launch);
  const TileLoader load_keys =
      view.packed_key.bits != 0 ? packed_key_loader(view.packed_key.bits) : dense_key_loader(view.key_dtype);
  const TileLoader load_values =
      view.packed_value.bits != 0 ? packed_value_loader(view.packed_value.bits) : dense_value_loader(view.value_dtype);
  RowBlock block{};
  block.view = &view;
  allocate(block, scratch);
  const int64_t all_rows = view.group * view.params->query_length;
  for (uint64_t index = begin; index < end; ++index) {
    const GridPosition at = grid_position(launch, index);
    // The last rows see the most keys: they start first, so that threads end together.
    block.first_row = (int64_t{launch.grid.x} - 1 - at.x) * view.params->rows_per_group;
    block.rows = static_cast<int>(smaller(view.params->rows_per_group, all_rows - block.first_row));
    block.kv_head = at.y;
    block.sequence = sequence_of(view, at.z);
    if (block.rows > 0) attend_block(block, load_keys, load_values);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
