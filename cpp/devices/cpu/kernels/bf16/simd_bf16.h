// The vector layer's bfloat16 dot products, on AVX-512: kLanes pairs of bfloat16, the first of a pair in the
// low half of its lane.
//
// Without the instructions (AVX512_BF16) the same is computed with float32 ones, slower than float32 products
// are: for tests.
#pragma once

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Places of 4 bytes that hold pairs.
METALHEAD_INLINE int32_t* as_pairs(float* places) { return reinterpret_cast<int32_t*>(places); }
METALHEAD_INLINE const int32_t* as_pairs(const float* places) {
  return reinterpret_cast<const int32_t*>(places);
}

/// sum + a.first * b.first + a.second * b.second in each lane. The instruction takes denormal numbers as
/// zeros.
METALHEAD_INLINE F32 dot_pairs(F32 sum, I32 a, I32 b) {
#ifdef __AVX512BF16__
  return {_mm512_dpbf16_ps(sum.v, __builtin_bit_cast(__m512bh, a.v), __builtin_bit_cast(__m512bh, b.v))};
#else
  const I32 second = splat(-65536);
  sum = fma(as_float(a & second), as_float(b & second), sum);
  return fma(as_float(shift_left<16>(a)), as_float(shift_left<16>(b)), sum);
#endif
}

/// 2 * kLanes values as bfloat16 in their order, rounded to nearest: neighbours become pairs.
METALHEAD_INLINE I32 round_to_pairs(F32 low, F32 high) {
#ifdef __AVX512BF16__
  return {__builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(high.v, low.v))};
#else
  const __m512i wide = _mm512_castsi256_si512(to_bfloat16_bits(low));
  return {_mm512_inserti64x4(wide, to_bfloat16_bits(high), 1)};
#endif
}

/// kLanes pairs of one row.
METALHEAD_INLINE I32 load_pairs(const BFloat16* p) { return {_mm512_loadu_si512(p)}; }

/// The first `count` (0 to 2 * kLanes) values as pairs, zeros after them; touches no memory past them.
METALHEAD_INLINE I32 load_pairs(const BFloat16* p, int count) {
  const uint32_t mask = count >= 2 * kLanes ? ~0u : (1u << count) - 1u;
  return {_mm512_maskz_loadu_epi16(mask, p)};
}

/// Lane i pairs lane i of two rows: the leading half of the first, and the second, which must be a bfloat16.
METALHEAD_INLINE I32 pair_up(F32 first, F32 second) {
  return as_int(second) | shift_right<16>(as_int(first));
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
