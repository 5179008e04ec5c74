// float32 as sums of bfloat16, as products of tiles take it.
#pragma once

#include "devices/cpu/kernels/attention_view.h"
#include "devices/cpu/kernels/gemm_tile.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Rows that make one step of a product: row i is paired with row i + kStepRows / 2.
constexpr int kStepRows = 32;

METALHEAD_INLINE constexpr int64_t steps_of(int64_t rows) { return (rows + kStepRows - 1) / kStepRows; }

/// The leading bfloat16 of each lane, in its high half, cut off; x keeps the rest.
METALHEAD_INLINE I32 take_bfloat16(F32& x) {
  const I32 taken = as_int(x) & splat(-65536);
  x = x - as_float(taken);
  return taken;
}

/// Pairs of lanes as kParts pairs of bfloat16 that add up to them, `part_stride` places apart: three are
/// exact, two have 16 bits and round the last, one is for what is a bfloat16 already.
template <int kParts>
METALHEAD_INLINE void store_parts(F32 first, F32 second, int32_t* to, int64_t part_stride) {
  METALHEAD_UNROLL
  for (int part = 0; part < kParts - 1; ++part, to += part_stride) {
    const I32 low = take_bfloat16(first), high = take_bfloat16(second);
    store(to, high | shift_right<16>(low));
  }
  // Half of the last place kept; numbers without more places stay what they are.
  const I32 half = splat(kParts == 2 ? 0x8000 : 0);
  const I32 low = as_int(first) + half, high = as_int(second) + half;
  store(to, (high & splat(-65536)) | shift_right<16>(low));
}

/// Panels [rows][kPanelWidth] of float32 as panels [kParts][pair_rows][kPanelWidth] of pairs; rows from
/// `rows` on count as zeros up to whole steps.
template <int kParts>
inline void split_panels(const float* from, int64_t from_stride, int64_t rows, int64_t panels, float* to,
                         int64_t pair_rows) {
  for (int64_t panel = 0; panel < panels; ++panel) {
    const float* source = from + panel * from_stride;
    auto* target = reinterpret_cast<int32_t*>(to) + panel * kParts * pair_rows * kPanelWidth;
    for (int64_t step = 0; step < rows; step += kStepRows) {
      for (int64_t row = step; row < step + kStepRows / 2; ++row, target += kPanelWidth) {
        const int64_t partner = row + kStepRows / 2;
        METALHEAD_UNROLL
        for (int i = 0; i < kPanelWidth; i += kLanes) {
          const F32 first = row < rows ? load(source + row * kPanelWidth + i) : zero();
          const F32 second = partner < rows ? load(source + partner * kPanelWidth + i) : zero();
          store_parts<kParts>(first, second, target + i, pair_rows * kPanelWidth);
        }
      }
    }
  }
}

/// A row of `width` floats, a multiple of kStepRows, as rows of 16 pairs: those of part p and step s at
/// to + (p * steps + s) * step_stride.
template <int kParts>
METALHEAD_INLINE void split_row(const float* row, int64_t width, int32_t* to, int64_t step_stride) {
  const int64_t steps = width / kStepRows;
  for (int64_t step = 0; step < steps; ++step, row += kStepRows) {
    store_parts<kParts>(load(row), load(row + kStepRows / 2), to + step * step_stride, steps * step_stride);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
