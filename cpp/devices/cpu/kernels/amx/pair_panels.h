// Queries, keys and values of bfloat16 as the pairs that tile_product.h multiplies, without a detour through
// float32.
#pragma once

#include "devices/cpu/kernels/amx/split.h"
#include "devices/cpu/kernels/bf16/pair_loader.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// A row of `count` values as rows of kLanes pairs of neighbours, zeros at the end of the last;
/// `step_stride` places apart.
METALHEAD_INLINE void copy_pairs(const BFloat16* from, int64_t count, int32_t* to, int64_t step_stride) {
  for (int64_t i = 0; i < count; i += 2 * kLanes, to += step_stride) {
    store(to, load_pairs(from + i, static_cast<int>(smaller(2 * kLanes, count - i))));
  }
}

/// Writes `ceil(value_dim / kPanelWidth)` panels, each [panel_rows][kPanelWidth]: a row for the keys i and
/// i + kStepRows / 2 of a step, zeros past `value_dim` and for missing keys of the last step.
inline void load_value_steps(const TileRequest& request, int64_t panel_rows, float* panels) {
  const AttentionParams& params = *request.view->params;
  const BFloat16* base = first_row<BFloat16>(request.view->value, params.value_strides, request);
  const auto load_part = [&](int key, int64_t dim) __attribute__((always_inline)) {
    if (key >= request.count) return zero();
    const int64_t row = physical_row(*request.sequence, request.first_key + key);
    const int values = static_cast<int>(smaller(kLanes, params.value_dim - dim));
    return load_partial(base + row * params.value_strides[2] + dim, values);
  };
  for (int step = 0; step < request.count; step += kStepRows) {
    for (int key = step; key < step + kStepRows / 2; ++key, panels += kPanelWidth) {
      for (int64_t dim = 0; dim < params.value_dim; dim += kLanes) {
        float* panel = panels + dim / kPanelWidth * (panel_rows * kPanelWidth) + dim % kPanelWidth;
        store(panel, as_float(pair_up(load_part(key, dim), load_part(key + kStepRows / 2, dim))));
      }
    }
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
