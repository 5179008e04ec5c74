// Loads queries, keys (transposed) and values of bfloat16 as the pairs that pair_tile.h multiplies.
#pragma once

#include "devices/cpu/kernels/bf16/simd_bf16.h"
#include "devices/cpu/kernels/tile_loader.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// `count` values as pairs, zeros up to `width` pairs.
METALHEAD_INLINE void load_pair_row(float* to, const BFloat16* from, int64_t count, int64_t width) {
  for (int64_t pair = 0; pair < width; pair += kLanes) {
    const int64_t left = larger(0, smaller(2 * kLanes, count - 2 * pair));
    store(to + pair, as_float(load_pairs(from + 2 * pair, static_cast<int>(left))));
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
      METALHEAD_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        block[i] = i < keys ? as_float(load_pairs(rows[i] + 2 * pair, values)) : zero();
      }
      transpose(block);
      const int written = static_cast<int>(smaller(kLanes, depth - pair));
      for (int i = 0; i < written; ++i) store(panel + (pair + i) * kPanelWidth, block[i]);
    }
  }
}

/// Writes `ceil(value_dim / kPanelWidth)` panels, each [panel_rows][kPanelWidth]: a row for two keys, the
/// first `ceil(count / 2)` written, zeros past `value_dim` and for a missing last key.
inline void load_value_pairs(const TileRequest& request, int64_t panel_rows, float* panels) {
  const AttentionParams& params = *request.view->params;
  const BFloat16* base = first_row<BFloat16>(request.view->value, params.value_strides, request);
  const auto row_of = [&](int key) __attribute__((always_inline)) {
    return base + physical_row(*request.sequence, request.first_key + key) * params.value_strides[2];
  };
  for (int key = 0; key < request.count; key += 2) {
    const BFloat16* first = row_of(key);
    const bool has_second = key + 1 < request.count;
    const BFloat16* second = has_second ? row_of(key + 1) : first;
    float* to = panels + key / 2 * kPanelWidth;
    for (int64_t dim = 0; dim < params.value_dim; dim += kLanes) {
      const int values = static_cast<int>(smaller(kLanes, params.value_dim - dim));
      const F32 low = load_partial(first + dim, values);
      const F32 high = has_second ? load_partial(second + dim, values) : zero();
      float* panel = to + dim / kPanelWidth * (panel_rows * kPanelWidth) + dim % kPanelWidth;
      store(panel, as_float(pair_up(low, high)));
    }
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
