// Products of 32 rows by panels of 32 columns in tile registers, of factors that are sums of bfloat16.
#pragma once

#include "devices/cpu/kernels/amx/split.h"
#include "devices/cpu/kernels/amx/tile_registers.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

constexpr int kProductRows = 2 * kTileSide;

/// How many bfloat16 the values of A and of B are sums of; products of part i by part j with i + j > kOrder
/// are left out as too small.
template <int kPartsOfA, int kPartsOfB, int kHighestOrder>
struct Parts {
  static constexpr int kA = kPartsOfA, kB = kPartsOfB, kOrder = kHighestOrder;
};

/// A's tile of (row half, step, part) at a + half * half_stride + step * step_stride + part * part_stride.
struct LeftFactor {
  const int32_t* at;
  int64_t row_stride, step_stride, part_stride;
};

/// One panel, [parts][pair_rows][kPanelWidth].
struct RightFactor {
  const int32_t* at;
  int64_t part_stride;
};

/// to[32][32] = A * B over `steps` steps; kHalves == 1 computes the first 16 rows only.
template <class Parts, int kHalves>
METALHEAD_INLINE void tile_product(TileRegisters& tiles, const LeftFactor& a, const RightFactor& b,
                                   int64_t steps, float* to, int64_t stride) {
  tiles.clear<0>();
  tiles.clear<1>();
  if constexpr (kHalves == 2) {
    tiles.clear<2>();
    tiles.clear<3>();
  }
  const int32_t *left = a.at, *right = b.at;
  for (int64_t step = 0; step < steps; ++step) {
    METALHEAD_UNROLL
    for (int j = 0; j < Parts::kB; ++j) {
      tiles.read<6>(right + j * b.part_stride, kPanelWidth);
      tiles.read<7>(right + j * b.part_stride + kTileSide, kPanelWidth);
      METALHEAD_UNROLL
      for (int i = 0; i < Parts::kA; ++i) {
        if (i + j > Parts::kOrder) continue;
        const int32_t* part = left + i * a.part_stride;
        tiles.read<4>(part, a.row_stride);
        tiles.add_products<0, 4, 6>();
        tiles.add_products<1, 4, 7>();
        if constexpr (kHalves == 2) {
          tiles.read<5>(part + kTileSide * a.row_stride, a.row_stride);
          tiles.add_products<2, 5, 6>();
          tiles.add_products<3, 5, 7>();
        }
      }
    }
    left += a.step_stride;
    right += kTileSide * kPanelWidth;
  }
  tiles.write<0>(to, stride);
  tiles.write<1>(to + kTileSide, stride);
  if constexpr (kHalves == 2) {
    tiles.write<2>(to + kTileSide * stride, stride);
    tiles.write<3>(to + kTileSide * stride + kTileSide, stride);
  }
}

template <class Parts>
METALHEAD_INLINE void tile_product(TileRegisters& tiles, int rows, const LeftFactor& a, const RightFactor& b,
                                   int64_t steps, float* to, int64_t stride) {
  if (rows > kTileSide) {
    tile_product<Parts, 2>(tiles, a, b, steps, to, stride);
  } else {
    tile_product<Parts, 1>(tiles, a, b, steps, to, stride);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
