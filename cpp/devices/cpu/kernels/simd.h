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

/// Vectors that exp_each takes best: one chain of its steps is too long for a processor to look past it to
/// the next.
constexpr int kExpVectors = kVectorRegisters / 8;

/// x[i] becomes e^x[i] with a relative error below 1.2e-7; exactly 0 below -87.7 (so for -inf too); NaN stays
/// NaN. For x up to 88.
template <int kCount>
METALHEAD_INLINE void exp_each(F32 (&x)[kCount]) {
  // Adding 1.5 * 2^23 rounds to an integer; 127 more makes the low bits the exponent field of 2^n.
  const F32 shifter = splat(12582912.0f + 127.0f);
  F32 shifted[kCount], p[kCount];
  METALHEAD_UNROLL
  for (int i = 0; i < kCount; ++i) x[i] = max(splat(-88.0f), x[i]);
  METALHEAD_UNROLL
  for (int i = 0; i < kCount; ++i) shifted[i] = fma(x[i], splat(1.44269502f), shifter);
  METALHEAD_UNROLL
  for (int i = 0; i < kCount; ++i) p[i] = shifted[i] - shifter;
  // ln 2 in two parts; the first has so few bits that its product with n is exact even without a fused
  // multiply.
  METALHEAD_UNROLL
  for (int i = 0; i < kCount; ++i) x[i] = fma(p[i], splat(-0.693145752f), x[i]);
  METALHEAD_UNROLL
  for (int i = 0; i < kCount; ++i) x[i] = fma(p[i], splat(-1.42860677e-6f), x[i]);
  METALHEAD_UNROLL
  for (int i = 0; i < kCount; ++i) p[i] = fma(splat(0.00138145988f), x[i], splat(0.00836871658f));
  constexpr float kCoefficients[] = {0.041668389f, 0.166665211f, 0.49999994f, 1.0f, 1.0f};
  METALHEAD_UNROLL
  for (int k = 0; k < 5; ++k) {
    METALHEAD_UNROLL
    for (int i = 0; i < kCount; ++i) p[i] = fma(p[i], x[i], splat(kCoefficients[k]));
  }
  METALHEAD_UNROLL
  for (int i = 0; i < kCount; ++i) x[i] = p[i] * as_float(shift_left<23>(as_int(shifted[i])));
}

/// e^x: see exp_each.
METALHEAD_INLINE F32 exp(F32 x) {
  F32 values[1] = {x};
  exp_each(values);
  return values[0];
}

/// tanh with a relative error below 4e-7; NaN stays NaN.
METALHEAD_INLINE F32 tanh(F32 x) {
  const F32 z = x * x;
  F32 p = fma(splat(-0.00589515874f), z, splat(0.020795973f));
  p = fma(p, z, splat(-0.0537838303f));
  p = fma(p, z, splat(0.133319244f));
  p = fma(p, z, splat(-0.333332986f));
  const F32 near = fma(p * z, x, x);
  const F32 magnitude = abs(x);
  const F32 e = exp(min(splat(20.0f), magnitude + magnitude));
  const F32 far = copy_sign(splat(1.0f) - splat(2.0f) / (e + splat(1.0f)), x);
  return select_less(magnitude, splat(0.6f), near, far);
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
