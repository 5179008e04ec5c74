// Loads queries, keys (transposed) and values of bfloat16 as the pairs that pair_tile.h multiplies.
#pragma once

#include "devices/cpu/kernels/bf16/simd_bf16.h"
#include "devices/cpu/kernels/tile_loader.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// A row of `count` values as rows of kLanes pairs of neighbours, `stride` places apart; zeros at the end of
/// the last.
METALHEAD_INLINE void copy_pairs(const BFloat16* from, int64_t count, int32_t* to, int64_t stride) {
  for (int64_t i = 0; i < count; i += 2 * kLanes, to += stride) {
    store(to, load_pairs(from + i, static_cast<int>(smaller(2 * kLanes, count - i))));
  }
}

/// Writes `ceil(count / kPanelWidth)` panels, each [depth][kPanelWidth] pairs of coordinates (keys along the
/// panel's rows), zeros past `count`.
inline void load_key_pairs(const TileRequest& request, int64_t depth, float* panels) {
  const AttentionParams& params = *request.view->params;
  const BFloat16* base = first_row<BFloat16>(request.view->key, params.key_strides, request);
  for (int key = 0; key < static_cast<int>(round_up(request.count, kPanelWidth)); key += kLanes) {
    const BFloat16* rows[kLanes];
    const int keys = rows_of_keys(request, base, params.key_strides[2], key, rows);
    float* panel = panels + key / kPanelWidth * (depth * kPanelWidth) + key % kPanelWidth;
    for (int64_t pair = 0; pair < depth; pair += kLanes) {
      const int values = static_cast<int>(smaller(2 * kLanes, params.head_dim - 2 * pair));
      F32 block[kLanes];
      if (keys == kLanes && values == 2 * kLanes) {
        METALHEAD_UNROLL
        for (int i = 0; i < kLanes; ++i) block[i] = as_float(load_pairs(rows[i] + 2 * pair));
      } else {
        METALHEAD_UNROLL
        for (int i = 0; i < kLanes; ++i) {
          block[i] = i < keys ? as_float(load_pairs(rows[i] + 2 * pair, values)) : zero();
        }
      }
      transpose(block);
      const int written = static_cast<int>(smaller(kLanes, depth - pair));
      for (int i = 0; i < written; ++i) store(panel + (pair + i) * kPanelWidth, block[i]);
    }
  }
}

/// Writes `ceil(value_dim / kPanelWidth)` panels, each [panel_rows][kPanelWidth]: of every 2 * kDistance keys
/// a row for each key i and key i + kDistance, zeros past `value_dim` and for missing keys of the last ones.
template <int kDistance>
inline void load_value_pairs(const TileRequest& request, int64_t panel_rows, float* panels) {
  const AttentionParams& params = *request.view->params;
  const BFloat16* base = first_row<BFloat16>(request.view->value, params.value_strides, request);
  const auto row_of = [&](int key) __attribute__((always_inline)) {
    const int64_t row = physical_row(*request.sequence, request.first_key + key);
    return key < request.count ? base + row * params.value_strides[2] : nullptr;
  };
  for (int begin = 0; begin < request.count; begin += 2 * kDistance) {
    for (int key = begin; key < begin + kDistance; ++key, panels += kPanelWidth) {
      const BFloat16 *first = row_of(key), *second = row_of(key + kDistance);
      for (int64_t dim = 0; dim < params.value_dim; dim += kLanes) {
        const int64_t values = params.value_dim - dim;
        const auto load_values = [&](const BFloat16* row) __attribute__((always_inline)) {
          if (row == nullptr) return zero();
          return values < kLanes ? load_partial(row + dim, static_cast<int>(values)) : load(row + dim);
        };
        float* panel = panels + dim / kPanelWidth * (panel_rows * kPanelWidth) + dim % kPanelWidth;
        store(panel, as_float(pair_up(load_values(first), load_values(second))));
      }
    }
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
