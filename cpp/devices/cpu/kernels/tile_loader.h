// Tiles of keys and values as float32 panels for gemm_tile: the seam where another storage of K and V plugs
// in.
#pragma once

#include "devices/cpu/kernels/attention_view.h"
#include "devices/cpu/kernels/gemm_tile.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Keys [first_key, first_key + count) of one sequence and KV head.
struct TileRequest {
  const AttentionView* view;
  const Sequence* sequence;
  int64_t kv_head;
  int64_t first_key;
  int count;
};

/// Keys: writes `ceil(count / kPanelWidth)` panels, each [head_dim][kPanelWidth] (keys along the panel's
/// rows), zeros past `count`. Values: writes `ceil(value_dim / kPanelWidth)` panels, each
/// [panel_rows][kPanelWidth] (a row per key, the first `count` written), zeros past `value_dim`.
using TileLoader = void (*)(const TileRequest& request, int64_t panel_rows, float* panels);

TileLoader dense_key_loader(DType dtype);
TileLoader dense_value_loader(DType dtype);

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
