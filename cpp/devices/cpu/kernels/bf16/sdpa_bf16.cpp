// Attention for many query rows with bfloat16 dot products, where queries, keys, values and the output all
// are bfloat16.
#include "devices/cpu/kernels/attend_blocks.h"
#include "devices/cpu/kernels/bf16/pair_loader.h"
#include "devices/cpu/kernels/bf16/pair_tile.h"
#include "devices/cpu/kernels/bf16/split.h"
#include "devices/cpu/kernels/kernels.h"
#include "devices/cpu/kernels/query_panel.h"

// Any processor with bfloat16 dot products runs the plain AVX-512 kernels too.
namespace metalhead::cpu::isa_avx512 {
void sdpa(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch);
}

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {
namespace {

/// Stores weights as the pairs that ValueTile reads.
struct StoreSplitWeights {
  template <int kCount>
  METALHEAD_INLINE void operator()(const F32 (&weights)[kCount], float* row, int at) const {
    METALHEAD_UNROLL
    for (int i = 0; i < kCount; i += 2, at += kWeightBlock) {
      const F32 low = weights[i], high = i + 1 < kCount ? weights[i + 1] : zero();
      store_parts<2, Pairs::kOfNeighbours>(low, high, as_pairs(row + at), kLanes);
    }
  }
};

/// Pairs of coordinates for the scores, pairs of keys for the weighted values.
struct BFloat16Tiles {
  static constexpr int kRows = kTileRows, kPaddedTo = kTileRows;
  static constexpr bool kSetsSums = false;
  using Weights = StoreSplitWeights;

  static TileShape shape(const AttentionParams& params) {
    const int64_t depth = round_up(params.head_dim, 2) / 2;
    const int keys = tile_keys_for(larger(depth, round_up(params.value_dim, 2) / 2));
    return {keys, depth, depth, keys / 2, kTileRows * kScoreStride, query_panel_workspace(depth)};
  }

  void load_queries(const RowBlock& block, int first) const {
    load_query_panel(block, first, [&](const QueryRow& query, float* row, int64_t /*width*/) {
      const auto* from = reinterpret_cast<const BFloat16*>(query_address(*block.view, query));
      copy_pairs(from, block.view->params->head_dim, as_pairs(row), kLanes);
    });
  }

  void load_tile(const TileRequest& request, const RowBlock& block) const {
    load_key_pairs(request, block.tile.depth, block.keys);
    load_value_pairs<1>(request, block.tile.value_rows, block.values);
  }

  void attend_rows(const RowBlock& block, int first, int64_t first_key, int count) const {
    attend_row_tile(*this, block, first, first_key, count);
  }

  void score(const RowBlock& block, int first, int rows, int begin, int end) const {
    const int64_t depth = block.tile.depth;
    const ScoreTile tile{as_pairs(block.query + first * depth), depth, block.view->params->scale};
    pair_rows(tile, rows, end - begin, as_pairs(block.keys + begin * depth), depth * kPanelWidth,
              block.scores + begin, kScoreStride);
  }

  void add_values(const RowBlock& block, int first, int rows, int begin, int end, const float* shrink) const {
    const ValueTile<kScoreStride> tile{as_pairs(block.scores + begin), (end - begin + 1) / 2, shrink};
    pair_rows(tile, rows, block.view->params->value_dim, as_pairs(block.values + begin / 2 * kPanelWidth),
              block.tile.value_rows * kPanelWidth, block.sums + first * block.sums_stride, block.sums_stride);
  }
};

METALHEAD_INLINE bool is_bfloat16(const AttentionView& view) {
  return view.query_dtype == DType::kBFloat16 && view.key_dtype == DType::kBFloat16 &&
         view.value_dtype == DType::kBFloat16 && view.out_dtype == DType::kBFloat16;
}

}  // namespace

void sdpa(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch) {
  const AttentionView view = view_of(launch);
  if (!is_bfloat16(view)) return isa_avx512::sdpa(launch, begin, end, scratch);
  attend_blocks(BFloat16Tiles{}, view, begin, end, scratch);
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
