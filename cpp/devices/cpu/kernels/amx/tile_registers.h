// The tile registers of AMX: eight matrices of 16 rows of 64 bytes, and products of two of them.
//
// Without the instructions the same is computed with AVX-512 ones, many times slower: for tests.
#pragma once

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Rows of a tile, pairs of bfloat16 in its row, and floats in it: all the same.
constexpr int kTileSide = 16;
constexpr int kTileRegisters = 8;

/// What is read once only need not stay in the nearest cache.
enum class Use { kOnce, kAgain };

/// The tile registers of this thread, from construction to destruction. The system must have granted their
/// use.
class TileRegisters {
 public:
  METALHEAD_INLINE TileRegisters() {
#ifdef __AMX_BF16__
    Configuration configuration{};
    configuration.palette = 1;
    for (int i = 0; i < kTileRegisters; ++i) {
      configuration.row_bytes[i] = kTileSide * 4;
      configuration.rows[i] = kTileSide;
    }
    asm volatile("ldtilecfg %0" ::"m"(configuration));
#endif
  }
  METALHEAD_INLINE ~TileRegisters() {
#ifdef __AMX_BF16__
    asm volatile("tilerelease" ::: "memory");
#endif
  }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;

  // GCC's own functions for these do not tell it that memory is read and written.
  template <int kTile>
  METALHEAD_INLINE void clear() {
#ifdef __AMX_BF16__
    asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
#else
    clear_tile(kTile);
#endif
  }

  /// Rows are `stride` places of 4 bytes apart.
  template <int kTile, Use kUse = Use::kAgain>
  METALHEAD_INLINE void read(const int32_t* from, int64_t stride) {
#ifdef __AMX_BF16__
    if constexpr (kUse == Use::kOnce) {
      asm volatile("tileloaddt1 (%1,%2,4), %%tmm%c0" ::"i"(kTile), "r"(from), "r"(stride) : "memory");
    } else {
      asm volatile("tileloadd (%1,%2,4), %%tmm%c0" ::"i"(kTile), "r"(from), "r"(stride) : "memory");
    }
#else
    read_tile(kTile, from, stride);
#endif
  }

  template <int kTile>
  METALHEAD_INLINE void write(float* to, int64_t stride) {
#ifdef __AMX_BF16__
    asm volatile("tilestored %%tmm%c0, (%1,%2,4)" ::"i"(kTile), "r"(to), "r"(stride) : "memory");
#else
    write_tile(kTile, to, stride);
#endif
  }

  /// sum[i][j] += the 32 products of row i of `kA` and column j of `kB`: pair k of the row times that of row
  /// k of the column. First and second products add up apart; denormal numbers count as zeros.
  template <int kSum, int kA, int kB>
  METALHEAD_INLINE void add_products() {
#ifdef __AMX_BF16__
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kA), "i"(kB));
#else
    add_tile_products(kSum, kA, kB);
#endif
  }

 private:
#ifdef __AMX_BF16__
  /// What ldtilecfg reads.
  struct Configuration {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  };
  static_assert(sizeof(Configuration) == 64);
#else
  // As functions: inlined everywhere they take a compiler minutes.
  __attribute__((noinline)) void clear_tile(int tile) {
    for (auto& row : tiles_[tile]) store(row, splat(0));
  }
  __attribute__((noinline)) void read_tile(int tile, const int32_t* from, int64_t stride) {
    for (int i = 0; i < kTileSide; ++i) store(tiles_[tile][i], load(from + i * stride));
  }
  __attribute__((noinline)) void write_tile(int tile, float* to, int64_t stride) const {
    for (int i = 0; i < kTileSide; ++i) store(to + i * stride, as_float(load(tiles_[tile][i])));
  }
  __attribute__((noinline)) void add_tile_products(int sum, int a, int b) {
    const I32 second_half = splat(-65536);
    for (int i = 0; i < kTileSide; ++i) {
      F32 first = zero(), second = zero();
      for (int k = 0; k < kTileSide; ++k) {
        const I32 left = splat(tiles_[a][i][k]), right = load(tiles_[b][k]);
        first = fma(as_float(shift_left<16>(left)), as_float(shift_left<16>(right)), first);
        second = fma(as_float(left & second_half), as_float(right & second_half), second);
      }
      store(tiles_[sum][i], as_int(as_float(load(tiles_[sum][i])) + (first + second)));
    }
  }

  alignas(64) int32_t tiles_[kTileRegisters][kTileSide][kTileSide];
#endif
};

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
