// A block of query rows against tiles of keys and values: what attention for many query rows is, whatever
// type its products have.
#pragma once

#include "devices/cpu/kernels/attention_row.h"
#include "devices/cpu/kernels/gemm_tile.h"
#include "devices/cpu/kernels/kept_tiles.h"
#include "devices/cpu/kernels/scratch_layout.h"
#include "devices/cpu/kernels/tile_loader.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

constexpr int kMaxTileKeys = 256;
/// Places for a factor of each of them: runs of keys that wrap are written in whole vectors, and two panels
/// from any panel on may be read.
constexpr int kMaxTileFactors = kMaxTileKeys + kPanelWidth;
/// Places that a tile of keys, and one of values, may take: the two together stay in a 1 MiB L2 cache beside
/// the rows.
constexpr int64_t kTilePlaces = 32768;
/// Floats between rows of scores: not a power of two, so that rows of one column fall into different cache
/// sets.
constexpr int kScoreStride = kMaxTileKeys + 16;
/// Rows of a row tile, in whole vectors. `Tiles::kRows` is how many rows meet a tile of keys at a time,
/// `Tiles::kPaddedTo` a divisor of it: so many more rows of sums may be computed than there are. They are
/// zeros before, unless `Tiles::kSetsSums` says that the first weighted values are not added to them.
/// `Tiles::Weights` stores weights as its products take them.
template <class Tiles>
constexpr int kStatsStride = (Tiles::kRows + kLanes - 1) / kLanes * kLanes;

/// The sizes of a tile as a kernel stores it. A place holds 4 bytes: a float, or whatever its products take.
struct TileShape {
  int keys;             ///< a multiple of kPanelWidth, up to kMaxTileKeys
  int64_t query_depth;  ///< places of a query
  int64_t depth;        ///< places of a key
  int64_t value_rows;   ///< rows of a panel of values
  int64_t scores;       ///< floats of RowBlock::scores
  int64_t workspace;    ///< floats of RowBlock::workspace
};

/// Keys of a tile of which each takes `places`, so that the tile takes `tile_places`.
METALHEAD_INLINE int tile_keys_for(int64_t places, int64_t tile_places = kTilePlaces) {
  const int64_t keys = tile_places / places / kPanelWidth * kPanelWidth;
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
  float* query;          ///< query_depth * Tiles::kRows places for each row tile
  float* sums;           ///< [rows][sums_stride]: weighted values so far
  QueryRow* query_rows;  ///< [rows]
  float* maxima;         ///< [row tiles][kStatsStride]
  float* totals;         ///< [row tiles][kStatsStride]: sums of weights
  KeptTiles* kept;
  float* tiles;  ///< [kept->places()][tile_floats]: keys, values and both factors
  int64_t tile_floats, key_floats, value_floats;
  float* keys;           ///< key panels of the tile at hand
  float* values;         ///< its value panels
  float* key_factors;    ///< [kMaxTileFactors]: of scores of the tile's keys, and of weights
  float* value_factors;  ///< of its values, where they are not part of keys and values
  float* scores;         ///< [kTileRows][kScoreStride], or as the kernel likes it
  float* workspace;      ///< whatever else the products need
  float* query_signs;    ///< [head_dim]: see rotate_row; where keys are packed
  float* out_signs;      ///< [value_dim]; where values are packed
};

constexpr int64_t kQueryRowFloats = sizeof(QueryRow) / sizeof(float);

/// Tiles that several row blocks of a KV head start at the same keys: those of blocks that see all keys
/// before them.
METALHEAD_INLINE int64_t shared_tiles(const AttentionView& view, int tile_keys) {
  const AttentionParams& params = *view.params;
  if (view.launch->grid.x == 1 || params.window_left < params.kv_length) return 1;
  return (params.kv_length + tile_keys - 1) / tile_keys;
}

template <class Tiles>
void allocate(RowBlock& block, Scratch& scratch) {
  constexpr int kRows = Tiles::kRows;
  const AttentionParams& params = *block.view->params;
  const int64_t all_rows = block.view->group * params.query_length;
  const int64_t rows = round_up(smaller(params.rows_per_group, all_rows), kRows);
  const int64_t value_width = round_up(params.value_dim, kPanelWidth);
  block.sums_stride = value_width + 16;
  ScratchLayout layout;
  const int64_t query = layout.add(rows * block.tile.query_depth),
                sums = layout.add(rows * block.sums_stride);
  const int64_t maxima = layout.add(rows / kRows * kStatsStride<Tiles>),
                totals = layout.add(rows / kRows * kStatsStride<Tiles>);
  const int64_t query_rows = layout.add(rows * kQueryRowFloats);
  block.key_floats = block.tile.keys * round_up(block.tile.depth, kLanes);
  block.value_floats = round_up(block.tile.value_rows * value_width, kLineFloats);
  block.tile_floats = block.key_floats + block.value_floats + 2 * kMaxTileFactors;
  const KeptTiles none(block.tile.keys, block.tile_floats, shared_tiles(*block.view, block.tile.keys));
  const int64_t kept = layout.add(sizeof(KeptTiles) / sizeof(float)),
                tiles = layout.add(none.places() * block.tile_floats), scores = layout.add(block.tile.scores);
  const int64_t workspace = layout.add(block.tile.workspace);
  const int64_t query_signs = layout.add(block.view->rotate_query ? params.head_dim : 0),
                out_signs = layout.add(block.view->rotate_out ? params.value_dim : 0);
  const bool goes_on = scratch.goes_on();
  float* memory = layout.reserve(scratch);
  block.query = memory + query;
  block.sums = memory + sums;
  block.maxima = memory + maxima;
  block.totals = memory + totals;
  block.query_rows = reinterpret_cast<QueryRow*>(memory + query_rows);
  block.kept = reinterpret_cast<KeptTiles*>(memory + kept);
  if (!goes_on) *block.kept = none;
  block.tiles = memory + tiles;
  block.scores = memory + scores;
  block.workspace = memory + workspace;
  block.query_signs = memory + query_signs;
  block.out_signs = memory + out_signs;
  if (block.view->rotate_query) expand_signs(params.key_signs, params.head_dim, block.query_signs);
  if (block.view->rotate_out) expand_signs(params.value_signs, params.value_dim, block.out_signs);
}

/// Makes the tile that starts at `first_key` the one at hand.
METALHEAD_INLINE void take_tile(RowBlock& block, int64_t first_key) {
  block.keys = block.tiles + block.kept->place_of(first_key) * block.tile_floats;
  block.values = block.keys + block.key_floats;
  block.key_factors = block.values + block.value_floats;
  block.value_factors = block.key_factors + kMaxTileFactors;
}

/// A query as float32, rotated where keys are packed; zeros up to `width`.
METALHEAD_INLINE void load_float_query(const RowBlock& block, const QueryRow& query, float* row,
                                       int64_t width) {
  const AttentionView& view = *block.view;
  const int head_dim = view.params->head_dim;
  load_row(row, query_address(view, query), view.query_dtype, head_dim, width, 1.0f);
  if (view.rotate_query) rotate_row(row, head_dim, block.query_signs, rotation_factor(head_dim), false);
}

template <class Tiles>
void begin_block(const RowBlock& block) {
  const AttentionView& view = *block.view;
  const int64_t heads = block.kv_head * view.group;
  int64_t row = block.first_row / view.group, member = block.first_row % view.group;
  for (int r = 0; r < block.rows; ++r) {
    block.query_rows[r] = query_row_at(view, block.sequence, heads + member, row);
    if (++member == view.group) member = 0, ++row;
  }
  const int64_t rows = round_up(block.rows, Tiles::kPaddedTo);
  if constexpr (!Tiles::kSetsSums) {
    __builtin_memset(block.sums, 0, static_cast<size_t>(rows * block.sums_stride) * sizeof(float));
  }
  const int64_t tiles = (rows + Tiles::kRows - 1) / Tiles::kRows;
  for (int64_t i = 0; i < tiles * kStatsStride<Tiles>; ++i) {
    block.maxima[i] = kMinusInfinity;
    block.totals[i] = 0.0f;
  }
}

/// True if finish_scores has nothing to do for keys first_key + [begin, end) in rows [first, first + rows).
METALHEAD_INLINE bool has_final_scores(const RowBlock& block, int first, int rows, int begin, int end,
                                       int64_t first_key) {
  const QueryRow* query_rows = block.query_rows + first;
  return block.has_plain_scores && first_key + begin >= query_rows[rows - 1].visible.begin &&
         first_key + end <= query_rows[0].visible.end && end % kLanes == 0;
}

/// Scores of keys first_key + [begin, end) in each row of a row tile become weights; fills `shrink`.
template <class Tiles>
METALHEAD_INLINE void weigh(const RowBlock& block, int first, int rows, int begin, int end, int64_t first_key,
                            float* shrink) {
  if (!has_final_scores(block, first, rows, begin, end, first_key)) {
    for (int i = 0; i < rows; ++i) {
      finish_scores(*block.view, block.query_rows[first + i], block.scores + i * kScoreStride, begin, end,
                    first_key);
    }
  }
  const int stats = first / Tiles::kRows * kStatsStride<Tiles>;
  METALHEAD_UNROLL
  for (int i = 0; i < Tiles::kRows; i += kLanes) {
    const int taken = static_cast<int>(larger(0, smaller(kLanes, rows - i)));
    softmax_step(block.scores + i * kScoreStride, kScoreStride, taken, begin, end, block.maxima + stats + i,
                 block.totals + stats + i, shrink + i, typename Tiles::Weights{});
  }
}

/// `count` keys from `first_key` on, counted from there: those that some of the rows [first, first + rows)
/// see, from a whole panel on.
METALHEAD_INLINE KeyRange seen_keys(const RowBlock& block, int first, int rows, int64_t first_key,
                                    int count) {
  const int64_t low = larger(0, block.query_rows[first].visible.begin - first_key);
  const int64_t high = smaller(count, block.query_rows[first + rows - 1].visible.end - first_key);
  if (low >= high) return {0, 0};
  return {low / kPanelWidth * kPanelWidth, high};
}

/// One tile of keys and values against the row tile that starts at row `first` of the block: scores, weights
/// and weighted values in turn.
template <class Tiles>
void attend_row_tile(const Tiles& tiles, const RowBlock& block, int first, int64_t first_key, int count) {
  const int rows = static_cast<int>(smaller(Tiles::kRows, block.rows - first));
  const KeyRange seen = seen_keys(block, first, rows, first_key, count);
  if (seen.end == 0) return;
  const int begin = static_cast<int>(seen.begin), end = static_cast<int>(seen.end);

  tiles.score(block, first, rows, begin, end);
  alignas(64) float shrink[kStatsStride<Tiles>];
  weigh<Tiles>(block, first, rows, begin, end, first_key, shrink);
  tiles.add_values(block, first, rows, begin, end, shrink);
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
