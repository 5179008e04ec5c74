// Loads tiles of dense keys (transposed) or values into float32 panels.
#include "devices/cpu/kernels/tile_loader.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {
namespace {

/// kLanes keys, `dims` (up to kLanes) coordinates from `dim` on, transposed into a panel.
template <class T>
METALHEAD_INLINE void transpose_block(const T* const (&rows)[kLanes], int keys, int64_t dim, int dims,
                                      float* panel) {
  F32 block[kLanes];
  METALHEAD_UNROLL
  for (int i = 0; i < kLanes; ++i) {
    block[i] = i >= keys ? zero() : dims == kLanes ? load(rows[i] + dim) : load_partial(rows[i] + dim, dims);
  }
  transpose(block);
  for (int i = 0; i < dims; ++i) store(panel + (dim + i) * kPanelWidth, block[i]);
}

template <class T>
METALHEAD_INLINE void transpose_full_block(const T* const (&rows)[kLanes], int64_t dim, float* panel) {
  F32 block[kLanes];
  METALHEAD_UNROLL
  for (int i = 0; i < kLanes; ++i) block[i] = load(rows[i] + dim);
  transpose(block);
  METALHEAD_UNROLL
  for (int i = 0; i < kLanes; ++i) store(panel + (dim + i) * kPanelWidth, block[i]);
}

template <class T>
void load_keys(const TileRequest& request, int64_t /*panel_rows*/, float* panels) {
  const AttentionParams& params = *request.view->params;
  const T* base = first_row<T>(request.view->key, params.key_strides, request);
  const int64_t head_dim = params.head_dim;
  for (int key = 0; key < static_cast<int>(round_up(request.count, kPanelWidth)); key += kLanes) {
    const T* rows[kLanes];
    const int keys = rows_of_keys(request, base, params.key_strides[2], key, rows);
    float* panel = panels + key / kPanelWidth * (head_dim * kPanelWidth) + key % kPanelWidth;
    int64_t dim = 0;
    if (keys == kLanes) {
      for (; dim + kLanes <= head_dim; dim += kLanes) transpose_full_block(rows, dim, panel);
    }
    for (; dim < head_dim; dim += kLanes) {
      transpose_block(rows, keys, dim, static_cast<int>(smaller(kLanes, head_dim - dim)), panel);
    }
  }
}

template <class T>
void load_values(const TileRequest& request, int64_t panel_rows, float* panels) {
  const AttentionParams& params = *request.view->params;
  const T* base = first_row<T>(request.view->value, params.value_strides, request);
  const int64_t value_dim = params.value_dim;
  const int64_t panel_floats = panel_rows * kPanelWidth;
  for (int key = 0; key < request.count; ++key) {
    const T* row = base + physical_row(*request.sequence, request.first_key + key) * params.value_strides[2];
    float* to = panels + key * kPanelWidth;
    int64_t dim = 0;
    for (; dim + kPanelWidth <= value_dim; dim += kPanelWidth, to += panel_floats) {
      store(to, load(row + dim));
      store(to + kLanes, load(row + dim + kLanes));
    }
    for (int half = 0; dim < value_dim; dim += kLanes, half += kLanes) {
      store(to + half, load_partial(row + dim, static_cast<int>(smaller(kLanes, value_dim - dim))));
    }
  }
}

}  // namespace

TileLoader dense_key_loader(DType dtype) {
  return dtype == DType::kFloat32   ? load_keys<float>
         : dtype == DType::kFloat16 ? load_keys<Float16>
                                    : load_keys<BFloat16>;
}

TileLoader dense_value_loader(DType dtype) {
  return dtype == DType::kFloat32   ? load_values<float>
         : dtype == DType::kFloat16 ? load_values<Float16>
                                    : load_values<BFloat16>;
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
