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

/// The first stored row of the request's sequence and KV head.
template <class T>
METALHEAD_INLINE const T* first_row(const char* data, const metalhead_long* strides,
                                    const TileRequest& request) {
  return reinterpret_cast<const T*>(data) + request.sequence->batch * strides[0] +
         request.kv_head * strides[1];
}

/// Where keys [key, key + kLanes) of the request lie, the last one in place of those past the end; returns
/// how many there are.
template <class T>
METALHEAD_INLINE int rows_of_keys(const TileRequest& request, const T* base, int64_t stride, int key,
                                  const T* (&rows)[kLanes]) {
  for (int i = 0; i < kLanes; ++i) {
    const int64_t row = request.first_key + smaller(key + i, request.count - 1);
    rows[i] = base + physical_row(*request.sequence, row) * stride;
  }
  return static_cast<int>(larger(0, smaller(kLanes, request.count - key)));
}

/// Keys: writes `ceil(count / kPanelWidth)` panels, each [head_dim][kPanelWidth] (keys along the panel's
/// rows), zeros past `count`. Values: writes `ceil(value_dim / kPanelWidth)` panels, each
/// [panel_rows][kPanelWidth] (a row per key, the first `count` written), zeros past `value_dim`.
using TileLoader = void (*)(const TileRequest& request, int64_t panel_rows, float* panels);

TileLoader dense_key_loader(DType dtype);
TileLoader dense_value_loader(DType dtype);

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
