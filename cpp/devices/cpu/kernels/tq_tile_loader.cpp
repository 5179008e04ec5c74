// Expands tiles of packed keys (transposed) or values into float32 panels, times their norms.
#include "devices/cpu/kernels/tq_tile_loader.h"

#include "devices/cpu/kernels/tq_stream.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {
namespace {

/// Codes and norm factors of the rows of one request, key by key.
struct PackedRows {
  const uint8_t* codes;
  int64_t stride;  ///< bytes
  const PackedSide* side;
  const TileRequest* request;
  float root;  ///< 1 / sqrt(dim)

  METALHEAD_INLINE int64_t row_of(int key) const {
    return physical_row(*request->sequence, request->first_key + key);
  }
  METALHEAD_INLINE const uint8_t* codes_of(int key) const { return codes + row_of(key) * stride; }
  METALHEAD_INLINE float factor_of(int key) const {
    alignas(64) float factor[kLanes] = {};
    load_norms(*side, request->sequence->batch, request->kv_head, row_of(key), 1, root, factor);
    return factor[0];
  }
};

METALHEAD_INLINE PackedRows rows_of(const TileRequest& request, const char* data,
                                    const metalhead_long* strides, const PackedSide& side, int dim) {
  const int64_t offset = request.sequence->batch * strides[0] + request.kv_head * strides[1];
  return {reinterpret_cast<const uint8_t*>(data) + offset, strides[2], &side, &request, rotation_factor(dim)};
}

template <int kBits>
void load_packed_keys(const TileRequest& request, int64_t /*panel_rows*/, float* panels) {
  const AttentionView& view = *request.view;
  const int dim = view.params->head_dim;
  const PackedRows rows = rows_of(request, view.key, view.params->key_strides, view.packed_key, dim);
  const LevelTable<kBits> table;
  alignas(64) float levels[kLanes * kMaxRotatedDim];
  for (int first = 0; first < static_cast<int>(round_up(request.count, kPanelWidth)); first += kLanes) {
    F32 factors[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      const bool exists = first + i < request.count;
      const int key = exists ? first + i : request.count - 1;
      table.expand(rows.codes_of(key), dim, levels + i * dim);
      factors[i] = splat(exists ? rows.factor_of(key) : 0.0f);
    }
    float* panel = panels + int64_t{first / kPanelWidth} * dim * kPanelWidth + first % kPanelWidth;
    for (int d = 0; d < dim; d += kLanes) {
      F32 block[kLanes];
      METALHEAD_UNROLL
      for (int i = 0; i < kLanes; ++i) block[i] = load(levels + i * dim + d) * factors[i];
      transpose(block);
      METALHEAD_UNROLL
      for (int i = 0; i < kLanes; ++i) store(panel + int64_t{d + i} * kPanelWidth, block[i]);
    }
  }
}

template <int kBits>
void load_packed_values(const TileRequest& request, int64_t panel_rows, float* panels) {
  const AttentionView& view = *request.view;
  const int dim = view.params->value_dim;
  const PackedRows rows = rows_of(request, view.value, view.params->value_strides, view.packed_value, dim);
  const LevelTable<kBits> table;
  alignas(64) float levels[kMaxRotatedDim];
  for (int key = 0; key < request.count; ++key) {
    table.expand(rows.codes_of(key), dim, levels);
    const F32 factor = splat(rows.factor_of(key));
    float* to = panels + int64_t{key} * kPanelWidth;
    for (int d = 0; d < dim; d += kPanelWidth, to += panel_rows * kPanelWidth) {
      store(to, load(levels + d) * factor);
      store(to + kLanes, load(levels + d + kLanes) * factor);
    }
  }
}

}  // namespace

TileLoader packed_key_loader(int bits) {
  switch (bits) {
    case 2:
      return load_packed_keys<2>;
    case 3:
      return load_packed_keys<3>;
    case 4:
      return load_packed_keys<4>;
    case 5:
      return load_packed_keys<5>;
    case 6:
      return load_packed_keys<6>;
    default:
      return load_packed_keys<8>;
  }
}

TileLoader packed_value_loader(int bits) {
  switch (bits) {
    case 2:
      return load_packed_values<2>;
    case 3:
      return load_packed_values<3>;
    case 4:
      return load_packed_values<4>;
    case 5:
      return load_packed_values<5>;
    case 6:
      return load_packed_values<6>;
    default:
      return load_packed_values<8>;
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
