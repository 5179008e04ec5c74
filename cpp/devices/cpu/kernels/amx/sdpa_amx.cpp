// Attention for many query rows with AMX tiles: products of bfloat16, of which wider types are sums.
#include "devices/cpu/kernels/amx/pair_panels.h"
#include "devices/cpu/kernels/amx/tile_product.h"
#include "devices/cpu/kernels/kernels.h"
#include "devices/cpu/kernels/row_block.h"
#include "devices/cpu/kernels/tq_tile_loader.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {
namespace {

/// An L2 cache of 2 MiB, as every processor with AMX has, holds this beside the rows.
constexpr int64_t kPartPlaces = 49152;
constexpr int kMaxParts = 3;
/// Places between rows of weights.
constexpr int64_t kWeightStride = kMaxTileKeys / 2 * kMaxParts + 16;

constexpr int64_t steps_of(int64_t values) { return (values + kStepRows - 1) / kStepRows; }

METALHEAD_INLINE int32_t* as_pairs(float* places) { return reinterpret_cast<int32_t*>(places); }

/// How many bfloat16 make a value of that type.
METALHEAD_INLINE int parts_of(DType dtype) {
  return dtype == DType::kBFloat16 ? 1 : dtype == DType::kFloat16 ? 2 : 3;
}

template <class ScoreParts, class ValueParts>
struct PartTiles {
  static constexpr int kRows = kProductRows;
  static constexpr int64_t kProductFloats = int64_t{kRows} * kPanelWidth;
  static constexpr bool kPairedKeys = ScoreParts::kB == 1, kPairedValues = ValueParts::kB == 1;

  TileRegisters* registers;
  TileLoader load_keys, load_values;

  static TileShape shape(const AttentionParams& params) {
    const int64_t depth = steps_of(params.head_dim) * kTileSide * ScoreParts::kB;
    const int64_t value_places = round_up(params.value_dim, kPanelWidth) / 2 * ValueParts::kB;
    const int keys = tile_keys_for(larger(depth, value_places), kPartPlaces);
    const int64_t wider = larger(params.head_dim, round_up(params.value_dim, kPanelWidth));
    return {keys, depth, int64_t{keys / 2} * ValueParts::kB,
            kRows * kWeightStride + kProductFloats + keys * wider};
  }

  int32_t* weights(const RowBlock& block) const { return as_pairs(block.workspace); }
  float* product(const RowBlock& block) const { return block.workspace + kRows * kWeightStride; }
  float* staged(const RowBlock& block) const { return product(block) + kProductFloats; }

  /// Tiles [part][step][row][kTileSide].
  void load_queries(const RowBlock& block, int first) const {
    const AttentionView& view = *block.view;
    const int64_t width = steps_of(view.params->head_dim) * kStepRows;
    int32_t* to = as_pairs(block.query + first * block.tile.depth);
    __builtin_memset(to, 0, static_cast<size_t>(kRows * block.tile.depth) * sizeof(int32_t));
    for (int r = first; r < block.rows && r < first + kRows; ++r, to += kTileSide) {
      const QueryRow& query = block.query_rows[r];
      if constexpr (kPairedKeys) {
        const auto* from = reinterpret_cast<const BFloat16*>(query_address(view, query));
        copy_pairs(from, view.params->head_dim, to, kRows * kTileSide);
      } else {
        load_float_query(block, query, staged(block), width);
        split_row<ScoreParts::kA>(staged(block), width, to, kRows * kTileSide);
      }
    }
  }

  void load_tile(const TileRequest& request, const RowBlock& block) const {
    const AttentionParams& params = *block.view->params;
    if constexpr (kPairedKeys) {
      load_key_pairs(request, block.tile.depth, block.keys);
    } else {
      load_keys(request, params.head_dim, staged(block));
      const int64_t panels = (request.count + kPanelWidth - 1) / kPanelWidth;
      split_panels<ScoreParts::kB>(staged(block), params.head_dim * kPanelWidth, params.head_dim, panels,
                                   block.keys, block.tile.depth / ScoreParts::kB);
    }
    if constexpr (kPairedValues) {
      load_value_steps(request, block.tile.value_rows, block.values);
    } else {
      load_values(request, block.tile.keys, staged(block));
      const int64_t panels = (params.value_dim + kPanelWidth - 1) / kPanelWidth;
      split_panels<ValueParts::kB>(staged(block), int64_t{block.tile.keys} * kPanelWidth, request.count,
                                   panels, block.values, block.tile.value_rows / ValueParts::kB);
    }
  }

  void score(const RowBlock& block, int first, int rows, int begin, int end) const {
    const int64_t depth = block.tile.depth, steps = steps_of(block.view->params->head_dim);
    const LeftFactor queries{as_pairs(block.query + first * depth), kTileSide, kRows * kTileSide,
                             steps * kRows * kTileSide};
    const F32 scale = splat(block.view->params->scale);
    for (int key = begin; key < end; key += kPanelWidth) {
      const RightFactor keys{as_pairs(block.keys + key * depth), steps * kTileSide * kPanelWidth};
      float* to = block.scores + key;
      tile_product<ScoreParts>(*registers, rows, queries, keys, steps, to, kScoreStride);
      for (int i = 0; i < rows; ++i, to += kScoreStride) {
        store(to, load(to) * scale);
        store(to + kLanes, load(to + kLanes) * scale);
      }
    }
  }

  void add_values(const RowBlock& block, int first, int rows, int begin, int end, const float* shrink) const {
    for (int i = 0; i < rows; ++i) split_weights(block, i, begin, end);
    const int first_step = begin / kStepRows;
    const LeftFactor factors{weights(block) + first_step * ValueParts::kA * kTileSide, kWeightStride,
                             ValueParts::kA * kTileSide, kTileSide};
    const int64_t value_rows = block.tile.value_rows, part_stride = value_rows / ValueParts::kB * kPanelWidth;
    const float* values = block.values + int64_t{first_step} * kTileSide * kPanelWidth;
    float* sums = block.sums + first * block.sums_stride;
    for (int64_t dim = 0; dim < block.view->params->value_dim; dim += kPanelWidth) {
      const RightFactor panel{reinterpret_cast<const int32_t*>(values), part_stride};
      tile_product<ValueParts>(*registers, rows, factors, panel, steps_of(end - begin), product(block),
                               kPanelWidth);
      for (int i = 0; i < rows; ++i) {
        const float* from = product(block) + i * kPanelWidth;
        float* to = sums + i * block.sums_stride + dim;
        store(to, fma(load(to), splat(shrink[i]), load(from)));
        store(to + kLanes, fma(load(to + kLanes), splat(shrink[i]), load(from + kLanes)));
      }
      values += value_rows * kPanelWidth;
    }
  }

  /// The weights [begin, end) of a row, zeros up to whole steps, as tiles [step][part][kTileSide].
  METALHEAD_INLINE void split_weights(const RowBlock& block, int row, int begin, int end) const {
    const float* from = block.scores + row * kScoreStride;
    int32_t* to = weights(block) + row * kWeightStride + begin / 2 * ValueParts::kA;
    for (int key = begin; key < end; key += kStepRows, to += ValueParts::kA * kTileSide) {
      const F32 partner = key + kLanes < end ? load(from + key + kLanes) : zero();
      store_parts<ValueParts::kA>(load(from + key), partner, to, kTileSide);
    }
  }
};

template <class ScoreParts, class ValueParts>
void attend(const AttentionView& view, uint64_t begin, uint64_t end, Scratch& scratch) {
  TileRegisters registers;
  PartTiles<ScoreParts, ValueParts> tiles{&registers, nullptr, nullptr};
  const int key_bits = view.packed_key.bits, value_bits = view.packed_value.bits;
  tiles.load_keys = key_bits != 0 ? packed_key_loader(key_bits) : dense_key_loader(view.key_dtype);
  tiles.load_values =
      value_bits != 0 ? packed_value_loader(value_bits) : dense_value_loader(view.value_dtype);
  attend_blocks(tiles, view, begin, end, scratch);
}

}  // namespace

void sdpa(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch) {
  const AttentionView view = view_of(launch);
  const bool is_packed = view.packed_key.bits != 0 || view.packed_value.bits != 0;
  const int wide = kMaxParts;
  const int score_parts =
      is_packed ? wide : static_cast<int>(larger(parts_of(view.query_dtype), parts_of(view.key_dtype)));
  const int value_parts = is_packed ? wide : parts_of(view.value_dtype);
  const bool is_narrow = view.out_dtype != DType::kFloat32;
  if (score_parts == 1 && value_parts == 1 && is_narrow) {
    attend<Parts<1, 1, 0>, Parts<2, 1, 1>>(view, begin, end, scratch);
  } else if (score_parts <= 2 && value_parts <= 2) {
    attend<Parts<2, 2, 2>, Parts<3, 2, 2>>(view, begin, end, scratch);
  } else {
    attend<Parts<3, 3, 2>, Parts<3, 3, 2>>(view, begin, end, scratch);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
