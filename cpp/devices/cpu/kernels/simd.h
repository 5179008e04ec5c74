// A thin layer over vector instructions: one spelling for AVX-512, AVX2, SSE4.2 and NEON.
//
// The file compiles once per instruction set, inside the namespace METALHEAD_ISA_NAMESPACE, and everything is
// forced inline: a copy built for a better machine must never be the one that the linker keeps for all.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef METALHEAD_ISA_NAMESPACE
#error "METALHEAD_ISA_NAMESPACE must name the instruction set that this file is compiled for"
#endif

#define METALHEAD_INLINE inline __attribute__((always_inline))

#if defined(__clang__)
#define METALHEAD_UNROLL _Pragma("unroll")
#else
#define METALHEAD_UNROLL _Pragma("GCC unroll 32")
#endif

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Storage of one float16; arithmetic happens in float32.
struct Float16 {
  uint16_t bits;
};

/// Storage of one bfloat16; arithmetic happens in float32.
struct BFloat16 {
  uint16_t bits;
};

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE

// Each of these defines F32 and I32 (kLanes values), loads, stores, arithmetic, reductions and table lookups.
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include "devices/cpu/kernels/simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "devices/cpu/kernels/simd_avx2.h"
#elif defined(__SSE4_2__)
#include "devices/cpu/kernels/simd_sse.h"
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include "devices/cpu/kernels/simd_neon.h"
#else
#error "no vector layer for this target"
#endif

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Floats of a cache line.
constexpr int kLineFloats = 16;

METALHEAD_INLINE constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// x as it is, loaded once: compilers repeat a load for each of a few uses, so that loads are short first.
METALHEAD_INLINE F32 in_register(F32 x) {
#if defined(__aarch64__)
  asm("" : "+w"(x.v));
#else
  asm("" : "+v"(x.v));
#endif
  return x;
}

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

/// One stored value as float32.
METALHEAD_INLINE float to_float(float x) { return x; }
METALHEAD_INLINE float to_float(Float16 x) { return first_lane(load_partial(&x, 1)); }
METALHEAD_INLINE float to_float(BFloat16 x) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(x.bits) << 16);
}

/// Lane i of the result is the largest lane of v[i]; v is overwritten.
METALHEAD_INLINE F32 reduce_max_each(F32 (&v)[kLanes]) {
  transpose(v);
  for (int step = kLanes / 2; step > 0; step /= 2) {
    for (int i = 0; i < step; ++i) v[i] = max(v[i], v[i + step]);
  }
  return v[0];
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
