// Expands tiles of packed keys (transposed) or values into float32 panels, times their norms.
#include "devices/cpu/kernels/tq_tile_loader.h"

#include "devices/cpu/kernels/tq_norm_factors.h"
#include "devices/cpu/kernels/tq_transposed_codes.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {
namespace {

template <int kBits>
void load_packed_keys(const TileRequest& request, int64_t /*panel_rows*/, float* panels) {
  const AttentionView& view = *request.view;
  const AttentionParams& params = *view.params;
  const int dim = params.head_dim;
  const uint8_t* base = first_row<uint8_t>(view.key, params.key_strides, request);
  const LevelTable<kBits> table;
  alignas(64) float factors[kMaxTileFactors];
  load_norm_factors(request, view.packed_key, dim, factors);
  TransposedCodes<kBits> codes;
  for (int first = 0; first < static_cast<int>(round_up(request.count, kPanelWidth)); first += kLanes) {
    const uint8_t* keys[kLanes];
    rows_of_keys(request, base, params.key_strides[2], first, keys);
    codes.take(keys, dim);
    const F32 factor = load(factors + first);
    float* to = panels + int64_t{first / kPanelWidth} * dim * kPanelWidth + first % kPanelWidth;
    for (int group = 0; group < dim / kWordCodes; ++group, to += kWordCodes * kPanelWidth) {
      for_each_part<0, 1, kWordCodes>([&]<int kCoordinate>() __attribute__((always_inline)) {
        const F32 levels = table.of_low_bits(codes.template codes<kCoordinate>(group));
        store(to + kCoordinate * kPanelWidth, levels * factor);
      });
    }
  }
}

template <int kBits>
void load_packed_values(const TileRequest& request, int64_t panel_rows, float* panels) {
  const AttentionView& view = *request.view;
  const AttentionParams& params = *view.params;
  const int dim = params.value_dim;
  const uint8_t* base = first_row<uint8_t>(view.value, params.value_strides, request);
  const LevelTable<kBits> table;
  alignas(64) float factors[kMaxTileFactors], levels[kMaxRotatedDim];
  load_norm_factors(request, view.packed_value, dim, factors);
  for (int key = 0; key < request.count; ++key) {
    const int64_t row = physical_row(*request.sequence, request.first_key + key);
    table.expand(base + row * params.value_strides[2], dim, levels);
    const F32 factor = splat(factors[key]);
    float* to = panels + int64_t{key} * kPanelWidth;
    for (int d = 0; d < dim; d += kPanelWidth, to += panel_rows * kPanelWidth) {
      store(to, load(levels + d) * factor);
      store(to + kLanes, load(levels + d + kLanes) * factor);
    }
  }
}

}  // namespace

TileLoader packed_key_loader(int bits) {
  return with_bits(bits, []<int kBits>() -> TileLoader { return load_packed_keys<kBits>; });
}

TileLoader packed_value_loader(int bits) {
  return with_bits(bits, []<int kBits>() -> TileLoader { return load_packed_values<kBits>; });
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
