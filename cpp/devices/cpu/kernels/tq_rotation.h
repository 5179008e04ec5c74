// The signed Walsh-Hadamard rotation of one vector in memory, which the codec and packed attention share.
#pragma once

#include <cstdint>

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

constexpr int kMaxRotatedDim = 512;

/// Lane i of the result is lane i ^ kDistance of x.
template <int kDistance>
METALHEAD_INLINE F32 exchange(F32 x) {
  static_assert(kDistance == 1 || kDistance == 2 || kDistance == 4 || kDistance == 8);
#if defined(__AVX512F__)
  if constexpr (kDistance == 1) return {_mm512_permute_ps(x.v, 0xb1)};
  if constexpr (kDistance == 2) return {_mm512_permute_ps(x.v, 0x4e)};
  if constexpr (kDistance == 4) return {_mm512_shuffle_f32x4(x.v, x.v, 0xb1)};
  if constexpr (kDistance == 8) return {_mm512_shuffle_f32x4(x.v, x.v, 0x4e)};
#elif defined(__AVX2__)
  if constexpr (kDistance == 1) return {_mm256_permute_ps(x.v, 0xb1)};
  if constexpr (kDistance == 2) return {_mm256_permute_ps(x.v, 0x4e)};
  if constexpr (kDistance == 4) return {_mm256_permute2f128_ps(x.v, x.v, 0x01)};
#elif defined(__SSE4_2__)
  if constexpr (kDistance == 1) return {_mm_shuffle_ps(x.v, x.v, 0xb1)};
  if constexpr (kDistance == 2) return {_mm_shuffle_ps(x.v, x.v, 0x4e)};
#else
  if constexpr (kDistance == 1) return {vrev64q_f32(x.v)};
  if constexpr (kDistance == 2) return {vextq_f32(x.v, x.v, 2)};
#endif
}

/// Sign bits in the lanes whose number has the bit kDistance set: the upper half of a butterfly.
template <int kDistance>
METALHEAD_INLINE I32 upper_half_signs() {
  static_assert((kDistance & (kDistance - 1)) == 0);
  constexpr int kShift = kDistance == 1 ? 31 : kDistance == 2 ? 30 : kDistance == 4 ? 29 : 28;
  return shift_left<kShift>(iota() & splat(kDistance));
}

/// One stage of the transform between lanes: (a, b) becomes (a + b, a - b).
template <int kDistance>
METALHEAD_INLINE F32 lane_butterfly(F32 x) {
  return exchange<kDistance>(x) + as_float(as_int(x) ^ upper_half_signs<kDistance>());
}

/// All stages between the lanes of one register, shortest distance first.
METALHEAD_INLINE F32 transform_lanes(F32 x) {
  x = lane_butterfly<2>(lane_butterfly<1>(x));
  if constexpr (kLanes >= 8) x = lane_butterfly<4>(x);
  if constexpr (kLanes >= 16) x = lane_butterfly<8>(x);
  return x;
}

/// All stages inside `kCount` registers' worth of neighbouring values.
template <int kCount>
METALHEAD_INLINE void transform_chunk(float* values) {
  F32 v[kCount];
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) v[i] = transform_lanes(load(values + i * kLanes));
#pragma GCC unroll 4
  for (int step = 1; step < kCount; step *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) {
      if ((i & step) != 0) continue;
      const F32 a = v[i], b = v[i + step];
      v[i] = a + b;
      v[i + step] = a - b;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) store(values + i * kLanes, v[i]);
}

/// The Walsh-Hadamard transform in natural order without a factor, in place. `dim` is a power of two, 32 to
/// 512. Every stage adds or subtracts pairs of float32 values, shortest distance first: the same bits on
/// every machine.
METALHEAD_INLINE void walsh_hadamard(float* values, int dim) {
  constexpr int kChunk = 8 * kLanes;
  if (dim < kChunk) {
    dim == 2 * kLanes ? transform_chunk<2>(values) : transform_chunk<4>(values);
    return;
  }
  for (int first = 0; first < dim; first += kChunk) transform_chunk<8>(values + first);
  for (int step = kChunk; step < dim; step *= 2) {
    for (int block = 0; block < dim; block += 2 * step) {
      for (int i = block; i < block + step; i += kLanes) {
        const F32 a = load(values + i), b = load(values + i + step);
        store(values + i, a + b);
        store(values + i + step, a - b);
      }
    }
  }
}

/// The signs as factors +1 and -1, `[dim]`; bit j of `signs` set means -1.
METALHEAD_INLINE void expand_signs(const uint32_t* signs, int dim, float* factors) {
  for (int j = 0; j < dim; ++j) factors[j] = (signs[j / 32] >> (j % 32) & 1u) != 0 ? -1.0f : 1.0f;
}

/// 1 / sqrt(dim), rounded once.
METALHEAD_INLINE float rotation_factor(int dim) {
  return static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(dim)));
}

/// Rotates one float32 vector in place, or undoes the rotation. `factors` as `expand_signs` writes them;
/// `scale` is `rotation_factor(dim)`, or a multiple of it where the result is to be multiplied as well.
METALHEAD_INLINE void rotate_row(float* row, int dim, const float* factors, float scale, bool inverse) {
  if (!inverse) {
    for (int j = 0; j < dim; j += kLanes) store(row + j, load(row + j) * load(factors + j));
  }
  walsh_hadamard(row, dim);
  const F32 factor = splat(scale);
  for (int j = 0; j < dim; j += kLanes) {
    const F32 x = load(row + j) * factor;
    store(row + j, inverse ? x * load(factors + j) : x);
  }
}

/// The same from the packed signs, for a caller with few rows.
METALHEAD_INLINE void hadamard_row(float* row, int dim, const uint32_t* signs, bool inverse) {
  float factors[kMaxRotatedDim];
  expand_signs(signs, dim, factors);
  rotate_row(row, dim, factors, rotation_factor(dim), inverse);
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
