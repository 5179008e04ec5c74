// Attention for many query rows with AMX tiles: products of bfloat16, of which wider types are sums.
#include "devices/cpu/kernels/amx/row_pipeline.h"
#include "devices/cpu/kernels/amx/tq_part_loader.h"
#include "devices/cpu/kernels/attend_blocks.h"
#include "devices/cpu/kernels/bf16/pair_loader.h"
#include "devices/cpu/kernels/kernels.h"
#include "devices/cpu/kernels/tq_norm_factors.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {
namespace {

/// An L2 cache of 2 MiB, as every processor with AMX has, holds this beside the rows.
constexpr int64_t kPartPlaces = 49152;

/// Values that are sums of bfloat16, and products of those. A single one is stored as it is found. With
/// kPacked, keys or values or both are packed.
template <class ScoreParts, class ValueParts, bool kPacked>
struct PartTiles {
  using Pipeline = RowPipeline<ScoreParts, ValueParts, kPacked>;
  static constexpr int kRows = kPipelineRows, kPaddedTo = kProductRows;
  static constexpr bool kSetsSums = true;
  static constexpr bool kPairedQueries = ScoreParts::kA == 1;
  static constexpr bool kPairedKeys = !kPacked && ScoreParts::kB == 1,
                        kPairedValues = !kPacked && ValueParts::kB == 1;
  static constexpr Pairs kPairs = kPairedKeys ? Pairs::kOfNeighbours : Pairs::kOfLanes;
  static constexpr bool kBothOf8Bits = kPacked && ScoreParts::kB == 1;

  TileRegisters* registers;

  static TileShape shape(const AttentionParams& params) {
    const int64_t pairs = steps_of(params.head_dim) * kTileSide, depth = pairs * ScoreParts::kB;
    const int64_t value_width = round_up(params.value_dim, kPanelWidth);
    const int keys = tile_keys_for(larger(depth, value_width / 2 * ValueParts::kB), kPartPlaces);
    const int64_t staged = kPairedKeys && kPairedValues ? 0 : keys * larger(params.head_dim, value_width);
    return {keys,
            pairs * ScoreParts::kA,
            depth,
            int64_t{keys / 2} * ValueParts::kB,
            Pipeline::kScoreFloats,
            larger(staged, round_up(params.head_dim, kStepRows))};
  }

  /// Queries as tiles [part][step][row][kTileSide] for each kProductRows rows; what rows past the last hold
  /// reaches no other row.
  void load_queries(const RowBlock& block, int first) const {
    const AttentionView& view = *block.view;
    const int64_t depth = block.tile.query_depth, width = round_up(view.params->head_dim, kStepRows);
    const int end = static_cast<int>(smaller(first + kRows, block.rows));
    for (int r = first; r < end; ++r) {
      const QueryRow& query = block.query_rows[r];
      const int row = r % kProductRows;
      int32_t* to = as_pairs(block.query + (r - row) * depth) + row * kTileSide;
      if constexpr (kPairedQueries) {
        const auto* from = reinterpret_cast<const BFloat16*>(query_address(view, query));
        copy_pairs(from, view.params->head_dim, to, kProductRows * kTileSide);
      } else {
        load_float_query(block, query, block.workspace, width);
        split_row<ScoreParts::kA, kPairs>(block.workspace, width, to, kProductRows * kTileSide);
      }
    }
  }

  void load_tile(const TileRequest& request, const RowBlock& block) const {
    if constexpr (kPacked) load_factors(request, block);
    load_key_tile(request, block);
    load_value_tile(request, block);
  }

  void attend_rows(const RowBlock& block, int first, int64_t first_key, int count) const {
    Pipeline(*registers, block, first_key).run(first, count);
  }

 private:
  /// What is left out of the levels of packed keys and values.
  static void load_factors(const TileRequest& request, const RowBlock& block) {
    const AttentionView& view = *block.view;
    const auto load_side = [&](const PackedSide& side, int dim, float* factors) {
      if (side.bits != 0) return load_norm_factors(request, side, dim, factors);
      for (int i = 0; i < kMaxTileFactors; ++i) factors[i] = 1.0f;
    };
    load_side(view.packed_key, view.params->head_dim, block.key_factors);
    load_side(view.packed_value, view.params->value_dim, block.value_factors);
  }

  static void load_key_tile(const TileRequest& request, const RowBlock& block) {
    const AttentionView& view = *block.view;
    const int head_dim = view.params->head_dim;
    const int64_t depth = block.tile.depth;
    if constexpr (kPairedKeys) {
      load_key_pairs(request, depth, block.keys);
    } else if (kBothOf8Bits || (kPacked && view.packed_key.bits != 0)) {
      const PartLoader load_parts = packed_key_part_loader(view.packed_key.bits, ScoreParts::kB);
      load_parts(request, depth / ScoreParts::kB, as_pairs(block.keys));
    } else {
      dense_key_loader(view.key_dtype)(request, head_dim, block.workspace);
      const int64_t panels = (request.count + kPanelWidth - 1) / kPanelWidth;
      split_panels<ScoreParts::kB>(block.workspace, int64_t{head_dim} * kPanelWidth, head_dim, panels,
                                   block.keys, depth / ScoreParts::kB);
    }
  }

  static void load_value_tile(const TileRequest& request, const RowBlock& block) {
    const AttentionView& view = *block.view;
    const int64_t value_rows = block.tile.value_rows;
    if constexpr (kPairedValues) {
      load_value_pairs<kStepRows / 2>(request, value_rows, block.values);
    } else if (kBothOf8Bits || (kPacked && view.packed_value.bits != 0)) {
      const PartLoader load_parts = packed_value_part_loader(view.packed_value.bits, ValueParts::kB);
      load_parts(request, value_rows / ValueParts::kB, as_pairs(block.values));
    } else {
      dense_value_loader(view.value_dtype)(request, block.tile.keys, block.workspace);
      const int64_t panels = (view.params->value_dim + kPanelWidth - 1) / kPanelWidth;
      split_panels<ValueParts::kB>(block.workspace, int64_t{block.tile.keys} * kPanelWidth, request.count,
                                   panels, block.values, value_rows / ValueParts::kB);
    }
  }
};

template <class ScoreParts, class ValueParts, bool kPacked = false>
void attend(const AttentionView& view, uint64_t begin, uint64_t end, Scratch& scratch) {
  TileRegisters registers;
  const PartTiles<ScoreParts, ValueParts, kPacked> tiles{&registers};
  attend_blocks(tiles, view, begin, end, scratch);
}

/// Packed keys or values or both: queries are sums of kQueryParts bfloat16, weights of kWeightParts, and
/// levels of as many as what they are multiplied by. One is enough where all levels have 8 bits.
template <int kQueryParts, int kWeightParts>
void attend_packed(const AttentionView& view, uint64_t begin, uint64_t end, Scratch& scratch) {
  constexpr int kScoreOrder = kQueryParts - 1, kValueOrder = kWeightParts - 1;
  if (view.packed_key.bits == 8 && view.packed_value.bits == 8) {
    return attend<Parts<kQueryParts, 1, kScoreOrder>, Parts<kWeightParts, 1, kValueOrder>, true>(
        view, begin, end, scratch);
  }
  attend<Parts<kQueryParts, kQueryParts, kScoreOrder>, Parts<kWeightParts, kWeightParts, kValueOrder>, true>(
      view, begin, end, scratch);
}

/// How many bfloat16 make a value of that type.
METALHEAD_INLINE int parts_of(DType dtype) {
  return dtype == DType::kBFloat16 ? 1 : dtype == DType::kFloat16 ? 2 : 3;
}

}  // namespace

// Parts are as few as the rule of accuracy allows for values that cancel and weights that are nearly equal:
// an output that is rounded to bfloat16 hides what one to float16 shows.
void sdpa(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch) {
  const AttentionView view = view_of(launch);
  const DType out = view.out_dtype;
  if (view.packed_key.bits != 0 || view.packed_value.bits != 0) {
    // Nothing is rounded in a log-sum-exp: it shows the error of every score.
    const bool is_rounded = view.lse == nullptr && out != DType::kFloat32;
    if (!is_rounded) return attend_packed<3, 3>(view, begin, end, scratch);
    if (out == DType::kFloat16) return attend_packed<2, 3>(view, begin, end, scratch);
    return attend_packed<2, 2>(view, begin, end, scratch);
  }
  const int query_parts = parts_of(view.query_dtype);
  const int64_t cache_parts = larger(parts_of(view.key_dtype), parts_of(view.value_dtype));
  if (cache_parts == 1 && query_parts == 1 && out == DType::kBFloat16) {
    return attend<Parts<1, 1, 0>, Parts<2, 1, 1>>(view, begin, end, scratch);
  }
  if (cache_parts == 1) return attend<Parts<3, 1, 2>, Parts<3, 1, 2>>(view, begin, end, scratch);
  if (cache_parts == 2 && query_parts <= 2) {
    return attend<Parts<2, 2, 2>, Parts<3, 2, 2>>(view, begin, end, scratch);
  }
  if (cache_parts == 2) return attend<Parts<3, 2, 2>, Parts<3, 2, 2>>(view, begin, end, scratch);
  attend<Parts<3, 3, 2>, Parts<3, 3, 2>>(view, begin, end, scratch);
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
