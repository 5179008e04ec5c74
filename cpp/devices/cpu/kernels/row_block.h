// A block of query rows against tiles of keys and values: what attention for many query rows is, whatever
// type its products have.
#pragma once

#include "devices/cpu/kernels/attention_row.h"
#include "devices/cpu/kernels/gemm_tile.h"
#include "devices/cpu/kernels/scratch_layout.h"
#include "devices/cpu/kernels/tile_loader.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

constexpr int kMaxTileKeys = 256;
/// Places that a tile of keys, and one of values, may take: the two together stay in a 1 MiB L2 cache beside
/// the rows.
constexpr int64_t kTilePlaces = 32768;
/// Floats between rows of scores: not a power of two, so that rows of one column fall into different cache
/// sets.
constexpr int kScoreStride = kMaxTileKeys + 16;
/// Rows of a row tile, in whole vectors.
constexpr int kStatsStride = (kTileRows + kLanes - 1) / kLanes * kLanes;

/// The sizes of a tile as a kernel stores it. A place holds 4 bytes: a float, or whatever its products take.
struct TileShape {
  int keys;            ///< a multiple of kPanelWidth, up to kMaxTileKeys
  int64_t depth;       ///< places of a query and of a key
  int64_t value_rows;  ///< rows of a panel of values
};

/// Keys of a tile of which each takes `places`, so that the tile takes kTilePlaces.
METALHEAD_INLINE int tile_keys_for(int64_t places) {
  const int64_t keys = kTilePlaces / places / kPanelWidth * kPanelWidth;
  return static_cast<int>(larger(kPanelWidth, smaller(kMaxTileKeys, keys)));
}

/// A block of query rows of the heads that share a KV head, and the worker's memory for it.
struct RowBlock {
  const AttentionView* view;
  Sequence sequence;
  int64_t kv_head;
  int64_t first_row;
  int rows;
  TileShape tile;
  bool has_plain_scores;
  int64_t sums_stride;   ///< floats between rows of `sums`
  float* query;          ///< panels [depth][kTileRows] of kTileRows rows
  float* sums;           ///< [rows][sums_stride]: weighted values so far
  QueryRow* query_rows;  ///< [rows]
  float* maxima;         ///< [row tiles][kStatsStride]
  float* totals;         ///< [row tiles][kStatsStride]: sums of weights
  float* keys;           ///< key panels of a tile
  float* values;         ///< value panels of a tile
  float* scores;         ///< [kTileRows][kScoreStride]
  float* staged_rows;    ///< [kTileRows][depth in whole vectors]: queries on their way to `query`
  float* query_signs;    ///< [head_dim]: see rotate_row; where keys are packed
  float* out_signs;      ///< [value_dim]; where values are packed
};

constexpr int64_t kQueryRowFloats = sizeof(QueryRow) / sizeof(float);

inline void allocate(RowBlock& block, Scratch& scratch) {
  const AttentionParams& params = *block.view->params;
  const int64_t all_rows = block.view->group * params.query_length;
  const int64_t rows = round_up(smaller(params.rows_per_group, all_rows), kTileRows);
  const int64_t value_width = round_up(params.value_dim, kPanelWidth);
  block.sums_stride = value_width + 16;
  ScratchLayout layout;
  const int64_t query = layout.add(rows * block.tile.depth), sums = layout.add(rows * block.sums_stride);
  const int64_t maxima = layout.add(rows / kTileRows * kStatsStride),
                totals = layout.add(rows / kTileRows * kStatsStride);
  const int64_t query_rows = layout.add(rows * kQueryRowFloats);
  const int64_t keys = layout.add(block.tile.keys * round_up(block.tile.depth, kLanes));
  const int64_t values = layout.add(block.tile.value_rows * value_width),
                scores = layout.add(kTileRows * kScoreStride);
  const int64_t staged_rows = layout.add(kTileRows * round_up(block.tile.depth, kLanes));
  const int64_t query_signs = layout.add(block.view->rotate_query ? params.head_dim : 0),
                out_signs = layout.add(block.view->rotate_out ? params.value_dim : 0);
  float* memory = layout.reserve(scratch);
  block.query = memory + query;
  block.sums = memory + sums;
  block.maxima = memory + maxima;
  block.totals = memory + totals;
  block.query_rows = reinterpret_cast<QueryRow*>(memory + query_rows);
  block.keys = memory + keys;
  block.values = memory + values;
  block.scores = memory + scores;
  block.staged_rows = memory + staged_rows;
  block.query_signs = memory + query_signs;
  block.out_signs = memory + out_signs;
  if (block.view->rotate_query) expand_signs(params.key_signs, params.head_dim, block.query_signs);
  if (block.view->rotate_out) expand_signs(params.value_signs, params.value_dim, block.out_signs);
}

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

inline void begin_block(const RowBlock& block) {
  const AttentionView& view = *block.view;
  const int64_t heads = block.kv_head * view.group;
  int64_t row = block.first_row / view.group, member = block.first_row % view.group;
  for (int r = 0; r < block.rows; ++r) {
    block.query_rows[r] = query_row_at(view, block.sequence, heads + member, row);
    if (++member == view.group) member = 0, ++row;
  }
  const int64_t rows = round_up(block.rows, kTileRows);
  __builtin_memset(block.sums, 0, static_cast<size_t>(rows * block.sums_stride) * sizeof(float));
  for (int64_t i = 0; i < rows / kTileRows * kStatsStride; ++i) {
    block.maxima[i] = kMinusInfinity;
    block.totals[i] = 0.0f;
  }
}

/// The queries of a row tile, its rows beside each other: the order in which register tiles read them.
template <class Tiles>
void load_queries(const Tiles& tiles, const RowBlock& block, int first) {
  const int64_t depth = block.tile.depth, width = round_up(depth, kLanes);
  for (int r = 0; r < kTileRows; ++r) {
    float* row = block.staged_rows + r * width;
    if (first + r < block.rows) {
      tiles.load_query(block, block.query_rows[first + r], row, width);
    } else {
      __builtin_memset(row, 0, static_cast<size_t>(width) * sizeof(float));
    }
  }
  transpose_rows(block.staged_rows, width, kTileRows, block.query + first * depth, depth);
}

/// Scores of keys first_key + [begin, end) in each row of a row tile become weights; fills `shrink`.
METALHEAD_INLINE void weigh(const RowBlock& block, int first, int rows, int begin, int end, int64_t first_key,
                            float* shrink) {
  const QueryRow* query_rows = block.query_rows + first;
  const bool all_visible = first_key + begin >= query_rows[rows - 1].visible.begin &&
                           first_key + end <= query_rows[0].visible.end && end % kLanes == 0;
  if (!block.has_plain_scores || !all_visible) {
    for (int i = 0; i < rows; ++i) {
      finish_scores(*block.view, query_rows[i], block.scores + i * kScoreStride, begin, end, first_key);
    }
  }
  const int stats = first / kTileRows * kStatsStride;
  METALHEAD_UNROLL
  for (int i = 0; i < kTileRows; i += kLanes) {
    const int taken = static_cast<int>(larger(0, smaller(kLanes, rows - i)));
    softmax_step(block.scores + i * kScoreStride, kScoreStride, taken, begin, end, block.maxima + stats + i,
                 block.totals + stats + i, shrink + i);
  }
}

/// One tile of keys and values against the row tile that starts at row `first` of the block.
template <class Tiles>
void attend_row_tile(const Tiles& tiles, const RowBlock& block, int first, KeyRange visible,
                     int64_t first_key, int count) {
  const int rows = static_cast<int>(smaller(kTileRows, block.rows - first));
  const int64_t low = larger(0, visible.begin - first_key);
  const int64_t high = smaller(count, visible.end - first_key);
  if (low >= high) return;
  const int begin = static_cast<int>(low) / kPanelWidth * kPanelWidth, end = static_cast<int>(high);

  tiles.score(block, first, rows, begin, end);
  alignas(64) float shrink[kStatsStride];
  weigh(block, first, rows, begin, end, first_key, shrink);
  tiles.add_values(block, first, rows, begin, end, shrink);
}

/// Writes the rows of the row tile that starts at row `first`.
inline void write_rows(const RowBlock& block, int first) {
  const AttentionView& view = *block.view;
  const int value_dim = view.params->value_dim;
  const float scale = view.rotate_out ? rotation_factor(value_dim) : 1.0f;
  const int end = static_cast<int>(smaller(first + kTileRows, block.rows));
  for (int r = first; r < end; ++r) {
    const int at = r / kTileRows * kStatsStride + r % kTileRows;
    float* sums = block.sums + r * block.sums_stride;
    if (view.rotate_out) rotate_row(sums, value_dim, block.out_signs, scale, true);
    write_rotated_row(view, block.query_rows[r], sums, {block.maxima[at], block.totals[at]});
  }
}

template <class Tiles>
void attend_block(const Tiles& tiles, const RowBlock& block) {
  begin_block(block);
  // Both ends of what is visible grow with the row.
  const KeyRange visible{block.query_rows[0].visible.begin, block.query_rows[block.rows - 1].visible.end};
  int written = 0;
  for (int64_t key = visible.begin; key < visible.end; key += block.tile.keys) {
    const int count = static_cast<int>(smaller(block.tile.keys, visible.end - key));
    const TileRequest request{block.view, &block.sequence, block.kv_head, key, count};
    tiles.load(request, block);
    const bool is_first = key == visible.begin;
    for (int first = written; first < block.rows; first += kTileRows) {
      const int last = static_cast<int>(smaller(first + kTileRows, block.rows)) - 1;
      const KeyRange seen{block.query_rows[first].visible.begin, block.query_rows[last].visible.end};
      const bool is_last = seen.end <= key + count;
      if (is_first) load_queries(tiles, block, first);
      attend_row_tile(tiles, block, first, seen, key, count);
      if (!is_last) continue;
      write_rows(block, first);
      written = first + kTileRows;
    }
  }
  // Without any visible key nothing was written.
  for (; written < block.rows; written += kTileRows) write_rows(block, written);
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
  allocate(block, scratch);
  const int64_t all_rows = view.group * view.params->query_length;
  for (uint64_t index = begin; index < end; ++index) {
    const GridPosition at = grid_position(launch, index);
    // The last rows see the most keys: they start first, so that threads end together.
    block.first_row = (int64_t{launch.grid.x} - 1 - at.x) * view.params->rows_per_group;
    block.rows = static_cast<int>(smaller(view.params->rows_per_group, all_rows - block.first_row));
    block.kv_head = at.y;
    block.sequence = sequence_of(view, at.z);
    if (block.rows > 0) attend_block(tiles, block);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
