// float32 as sums of bfloat16, as products of tiles take it.
#pragma once

#include "devices/cpu/kernels/bf16/simd_bf16.h"
#include "devices/cpu/kernels/gemm_tile.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Rows that make one step of a product: row i is paired with row i + kStepRows / 2.
constexpr int kStepRows = 32;

METALHEAD_INLINE constexpr int64_t steps_of(int64_t rows) { return (rows + kStepRows - 1) / kStepRows; }

/// Bits of x plus half of the last place of a bfloat16.
METALHEAD_INLINE I32 add_half_place(F32 x) { return as_int(x) + splat(0x8000); }

/// What becomes a pair: a lane of one vector and the same of the other, or neighbours in the first and then
/// in the second.
enum class Pairs { kOfLanes, kOfNeighbours };

/// Two vectors as kParts vectors of pairs of bfloat16 that add up to them, `part_stride` places apart: three
/// are exact, two have 16 bits, one is for what is a bfloat16 already.
template <int kParts, Pairs kPairs = Pairs::kOfLanes>
METALHEAD_INLINE void store_parts(F32 first, F32 second, int32_t* to, int64_t part_stride) {
  const I32 leading = splat(-65536);
  METALHEAD_UNROLL
  for (int part = 0; part < kParts; ++part, to += part_stride) {
    // The first part is cut off, as rounding could overflow; the others are rounded.
    const I32 low = part == 0 ? as_int(first) : add_half_place(first);
    const I32 high = part == 0 ? as_int(second) : add_half_place(second);
    const F32 low_part = as_float(low & leading), high_part = as_float(high & leading);
    if constexpr (kPairs == Pairs::kOfLanes) {
      store(to, pair_up(as_float(low), high_part));
    } else {
      store(to, round_to_pairs(low_part, high_part));
    }
    first = first - low_part;
    second = second - high_part;
  }
}

/// Panels [rows][kPanelWidth] of float32 as panels [kParts][pair_rows][kPanelWidth] of pairs; rows from
/// `rows` on count as zeros up to whole steps.
template <int kParts>
inline void split_panels(const float* from, int64_t from_stride, int64_t rows, int64_t panels, float* to,
                         int64_t pair_rows) {
  for (int64_t panel = 0; panel < panels; ++panel) {
    const float* source = from + panel * from_stride;
    int32_t* target = as_pairs(to) + panel * kParts * pair_rows * kPanelWidth;
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
template <int kParts, Pairs kPairs>
METALHEAD_INLINE void split_row(const float* row, int64_t width, int32_t* to, int64_t step_stride) {
  const int64_t steps = width / kStepRows;
  for (int64_t step = 0; step < steps; ++step, row += kStepRows) {
    store_parts<kParts, kPairs>(load(row), load(row + kStepRows / 2), to + step * step_stride,
                                steps * step_stride);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
