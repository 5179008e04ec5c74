// Attention for many query rows: tiles of keys and values as panels, register-tiled products, online softmax
// between them.
#include "devices/cpu/kernels/attend_blocks.h"
#include "devices/cpu/kernels/kernels.h"
#include "devices/cpu/kernels/query_panel.h"
#include "devices/cpu/kernels/tq_tile_loader.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {
namespace {

/// Queries, keys and values of any type, as float32.
struct Float32Tiles {
  static constexpr int kRows = kTileRows, kPaddedTo = kTileRows;
  static constexpr bool kSetsSums = false;
  using Weights = StoreWeights;

  TileLoader load_keys, load_values;

  static TileShape shape(const AttentionParams& params) {
    const int keys = tile_keys_for(larger(params.head_dim, params.value_dim));
    const int64_t depth = params.head_dim;
    return {keys, depth, depth, keys, kTileRows * kScoreStride, query_panel_workspace(depth)};
  }

  void load_queries(const RowBlock& block, int first) const {
    load_query_panel(block, first, [&](const QueryRow& query, float* row, int64_t width) {
      load_float_query(block, query, row, width);
    });
  }

  void load_tile(const TileRequest& request, const RowBlock& block) const {
    load_keys(request, block.tile.depth, block.keys);
    load_values(request, block.tile.value_rows, block.values);
  }

  void attend_rows(const RowBlock& block, int first, int64_t first_key, int count) const {
    attend_row_tile(*this, block, first, first_key, count);
  }

  void score(const RowBlock& block, int first, int rows, int begin, int end) const {
    const AttentionParams& params = *block.view->params;
    const int64_t depth = params.head_dim;
    const Factors from{block.query + first * depth,
                       block.keys + begin * depth,
                       depth * kPanelWidth,
                       end - begin,
                       depth,
                       depth > kSumTerms ? kSumTermsOfLongScores : kSumTerms};
    gemm_rows<RowsOfA<1, kTileRows>, Update::kSet>(rows, from,
                                                   {block.scores + begin, kScoreStride, &params.scale});
  }

  void add_values(const RowBlock& block, int first, int rows, int begin, int end, const float* shrink) const {
    const Factors from{block.scores + begin,
                       block.values + begin * kPanelWidth,
                       block.tile.value_rows * kPanelWidth,
                       block.view->params->value_dim,
                       end - begin,
                       kSumTerms};
    gemm_rows<RowsOfA<kScoreStride, 1>, Update::kScaleAdd>(
        rows, from, {block.sums + first * block.sums_stride, block.sums_stride, shrink});
  }
};

}  // namespace

void sdpa(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch) {
  const AttentionView view = view_of(launch);
  const Float32Tiles tiles{key_loader(view), value_loader(view)};
  attend_blocks(tiles, view, begin, end, scratch);
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
