// The signed Walsh-Hadamard rotation of one vector in memory, which the codec and packed attention share.
#pragma once

#include <cstdint>

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

constexpr int kMinRotatedDim = 32, kMaxRotatedDim = 512;

/// -1 in the lanes whose number has the bit kDistance set, the upper half of a butterfly; 1 in the others.
template <int kDistance>
METALHEAD_INLINE F32 upper_half_signs() {
  static_assert((kDistance & (kDistance - 1)) == 0);
  constexpr int kShift = kDistance == 1 ? 31 : kDistance == 2 ? 30 : kDistance == 4 ? 29 : 28;
  return as_float(shift_left<kShift>(iota() & splat(kDistance)) | as_int(splat(1.0f)));
}

/// One stage of the transform between lanes: (a, b) becomes (a + b, a - b). The product is exact.
template <int kDistance>
METALHEAD_INLINE F32 lane_butterfly(F32 x) {
  return fma(x, upper_half_signs<kDistance>(), exchange<kDistance>(x));
}

/// All stages between the lanes of one register, shortest distance first.
METALHEAD_INLINE F32 transform_lanes(F32 x) {
  x = lane_butterfly<2>(lane_butterfly<1>(x));
  if constexpr (kLanes >= 8) x = lane_butterfly<4>(x);
  if constexpr (kLanes >= 16) x = lane_butterfly<8>(x);
  return x;
}

/// All stages inside kCount registers' worth of neighbouring values, from value `first` on.
template <int kCount, class Take, class Put>
METALHEAD_INLINE void transform_chunk(int first, const Take& take, const Put& put) {
  F32 v[kCount];
  METALHEAD_UNROLL
  for (int i = 0; i < kCount; ++i) v[i] = transform_lanes(take(first + i * kLanes));
  METALHEAD_UNROLL
  for (int step = 1; step < kCount; step *= 2) {
    METALHEAD_UNROLL
    for (int i = 0; i < kCount; ++i) {
      if ((i & step) != 0) continue;
      const F32 a = v[i], b = v[i + step];
      v[i] = a + b;
      v[i + step] = a - b;
    }
  }
  METALHEAD_UNROLL
  for (int i = 0; i < kCount; ++i) put(first + i * kLanes, v[i]);
}

/// `dim` values that fit kCount registers or less.
template <int kCount, class Take, class Put>
METALHEAD_INLINE void transform_short(int dim, const Take& take, const Put& put) {
  if constexpr (kCount * kLanes > kMinRotatedDim) {
    if (dim < kCount * kLanes) return transform_short<kCount / 2>(dim, take, put);
  }
  transform_chunk<kCount>(0, take, put);
}

/// The Walsh-Hadamard transform in natural order without a factor. `take(j)` is values j to j + kLanes - 1
/// and `put(j, x)` takes those of the result, each once; `values` [dim] is memory for what lies between.
/// `dim` is a power of two, 32 to 512. Every stage adds or subtracts pairs of float32 values, shortest
/// distance first: the same bits on every machine.
template <class Take, class Put>
METALHEAD_INLINE void walsh_hadamard(float* values, int dim, const Take& take, const Put& put) {
  constexpr int kCount = kVectorRegisters / 2, kChunk = kCount * kLanes;
  if (dim <= kChunk) return transform_short<kCount>(dim, take, put);
  const auto keep = [&](int j, F32 x) __attribute__((always_inline)) { store(values + j, x); };
  for (int first = 0; first < dim; first += kChunk) transform_chunk<kCount>(first, take, keep);
  const auto join = [&](int step, const auto& to) __attribute__((always_inline)) {
    for (int block = 0; block < dim; block += 2 * step) {
      for (int i = block; i < block + step; i += kLanes) {
        const F32 a = load(values + i), b = load(values + i + step);
        to(i, a + b);
        to(i + step, a - b);
      }
    }
  };
  for (int step = kChunk; step < dim / 2; step *= 2) join(step, keep);
  join(dim / 2, put);
}

/// The same in place.
METALHEAD_INLINE void walsh_hadamard(float* values, int dim) {
  walsh_hadamard(
      values, dim, [&](int j) __attribute__((always_inline)) { return load(values + j); },
      [&](int j, F32 x) __attribute__((always_inline)) { store(values + j, x); });
}

/// Bit i in lane i, for up to 16 lanes.
struct LaneBits {
  int32_t values[16];
  constexpr LaneBits() : values{} {
    for (int i = 0; i < 16; ++i) values[i] = 1 << i;
  }
};
inline constexpr LaneBits kLaneBits;

/// The signs as factors +1 and -1, `[dim]`; bit j of `signs` set means -1.
METALHEAD_INLINE void expand_signs(const uint32_t* signs, int dim, float* factors) {
  const I32 lane_bits = load(kLaneBits.values);
  for (int j = 0; j < dim; j += kLanes) {
    const F32 bit = to_float(splat(static_cast<int32_t>(signs[j / 32] >> (j % 32))) & lane_bits);
    store(factors + j, select_less(zero(), bit, splat(-1.0f), splat(1.0f)));
  }
}

/// 1 / sqrt(dim), rounded once.
METALHEAD_INLINE float rotation_factor(int dim) {
  return static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(dim)));
}

/// Rotates one float32 vector in place, or undoes the rotation. `factors` as `expand_signs` writes them;
/// `scale` is `rotation_factor(dim)`, or a multiple of it where the result is to be multiplied as well.
METALHEAD_INLINE void rotate_row(float* row, int dim, const float* factors, float scale, bool inverse) {
  const F32 factor = splat(scale);
  const auto take = [&](int j) __attribute__((always_inline)) {
    const F32 x = load(row + j);
    return inverse ? x : x * load(factors + j);
  };
  const auto put = [&](int j, F32 x) __attribute__((always_inline)) {
    x = x * factor;
    store(row + j, inverse ? x * load(factors + j) : x);
  };
  walsh_hadamard(row, dim, take, put);
}

/// The same from the packed signs, for a caller with few rows.
METALHEAD_INLINE void hadamard_row(float* row, int dim, const uint32_t* signs, bool inverse) {
  float factors[kMaxRotatedDim];
  expand_signs(signs, dim, factors);
  rotate_row(row, dim, factors, rotation_factor(dim), inverse);
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
