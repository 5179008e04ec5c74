// Powers of e for the softmax, and tanh for its soft cap: polynomials, no tables.
#pragma once

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Vectors that exp_each takes best: one chain of its steps is too long for a processor to look past it to
/// the next.
constexpr int kExpVectors = kVectorRegisters / 8;

#if defined(__AVX512F__)
/// log2(e): what exp2_each takes for e.
constexpr float kExponentUnit = 1.44269502f;

/// x[i] becomes 2^x[i] with a relative error below 1.8e-7; exactly 1 for 0 and 0 below -126. NaN stays NaN if
/// kKeepsNaN, else it becomes 0. For x below 128.
template <bool kKeepsNaN, int kCount>
METALHEAD_INLINE void exp2_each(F32 (&x)[kCount]) {
  constexpr int kDown = 1;
  F32 fraction[kCount], p[kCount];
  METALHEAD_UNROLL
  for (int i = 0; i < kCount; ++i) fraction[i] = {_mm512_reduce_ps(x[i].v, kDown)};
  METALHEAD_UNROLL
  for (int i = 0; i < kCount; ++i) p[i] = fma(splat(0.00186713005f), fraction[i], splat(0.00901703071f));
  constexpr float kCoefficients[] = {0.0557999127f, 0.240164444f, 0.693151295f, 1.0f};
  METALHEAD_UNROLL
  for (int k = 0; k < 4; ++k) {
    METALHEAD_UNROLL
    for (int i = 0; i < kCount; ++i) p[i] = fma(p[i], fraction[i], splat(kCoefficients[k]));
  }
  METALHEAD_UNROLL
  for (int i = 0; i < kCount; ++i) {
    constexpr int kNotBelow = kKeepsNaN ? _CMP_NLT_UQ : _CMP_GE_OQ;
    const __mmask16 kept = _mm512_cmp_ps_mask(x[i].v, splat(-126.0f).v, kNotBelow);
    x[i] = {_mm512_maskz_scalef_ps(kept, p[i].v, x[i].v)};
  }
}

/// x[i] becomes e^x[i] with a relative error below 1.8e-7 + 7.5e-8 |x[i]|; exactly 1 for 0 and 0 below -87.4
/// (so for -inf too); NaN stays NaN. For x up to 88.
template <int kCount>
METALHEAD_INLINE void exp_each(F32 (&x)[kCount]) {
  METALHEAD_UNROLL
  for (int i = 0; i < kCount; ++i) x[i] = x[i] * splat(kExponentUnit);
  exp2_each<true>(x);
}
#else
/// x[i] becomes e^x[i] with a relative error below 1.2e-7; exactly 1 for 0 and 0 below -87.7 (so for -inf
/// too); NaN stays NaN. For x up to 88.
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
#endif

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
