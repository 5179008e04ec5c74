// The vector layer on AVX-512 (F, BW, DQ, VL): 16 lanes.
#pragma once

// GCC 12 takes the deliberately undefined registers of its own intrinsics for a mistake.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

constexpr int kLanes = 16;
constexpr int kVectorRegisters = 32;

struct F32 {
  __m512 v;
};
struct I32 {
  __m512i v;
};

METALHEAD_INLINE __mmask16 first_lanes(int count) { return static_cast<__mmask16>((1u << count) - 1u); }

METALHEAD_INLINE F32 splat(float x) { return {_mm512_set1_ps(x)}; }
METALHEAD_INLINE F32 zero() { return {_mm512_setzero_ps()}; }
METALHEAD_INLINE float first_lane(F32 x) { return _mm512_cvtss_f32(x.v); }

METALHEAD_INLINE F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
METALHEAD_INLINE F32 load(const Float16* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
METALHEAD_INLINE F32 load(const BFloat16* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}

/// Values at even (odd) places of 2 * kLanes values: the cheapest way to widen them.
METALHEAD_INLINE F32 load_even(const BFloat16* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16))};
}
METALHEAD_INLINE F32 load_odd(const BFloat16* p) {
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(-65536)))};
}

/// kCount floats over and over: 4 or 8.
template <int kCount>
METALHEAD_INLINE F32 load_repeated(const float* p) {
  static_assert(kCount == 4 || kCount == 8);
  if constexpr (kCount == 4) return {_mm512_broadcast_f32x4(_mm_loadu_ps(p))};
  return {_mm512_broadcast_f32x8(_mm256_loadu_ps(p))};
}

/// The first `count` (0 to kLanes) values, the other lanes 0; touches no memory past them.
METALHEAD_INLINE F32 load_partial(const float* p, int count) {
  return {_mm512_maskz_loadu_ps(first_lanes(count), p)};
}
METALHEAD_INLINE F32 load_partial(const Float16* p, int count) {
  return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(count), p))};
}
METALHEAD_INLINE F32 load_partial(const BFloat16* p, int count) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_lanes(count), p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}

/// Round to nearest, ties to even; NaN stays NaN.
METALHEAD_INLINE __m256i to_float16_bits(F32 x) {
  return _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
METALHEAD_INLINE __m256i to_bfloat16_bits(F32 x) {
  const __m512i bits = _mm512_castps_si512(x.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q);
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16));
}

METALHEAD_INLINE void store(float* p, F32 x) { _mm512_storeu_ps(p, x.v); }
METALHEAD_INLINE void store(Float16* p, F32 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_float16_bits(x));
}
METALHEAD_INLINE void store(BFloat16* p, F32 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bfloat16_bits(x));
}
METALHEAD_INLINE void store_partial(float* p, F32 x, int count) {
  _mm512_mask_storeu_ps(p, first_lanes(count), x.v);
}
METALHEAD_INLINE void store_partial(Float16* p, F32 x, int count) {
  _mm256_mask_storeu_epi16(p, first_lanes(count), to_float16_bits(x));
}
METALHEAD_INLINE void store_partial(BFloat16* p, F32 x, int count) {
  _mm256_mask_storeu_epi16(p, first_lanes(count), to_bfloat16_bits(x));
}

METALHEAD_INLINE F32 operator+(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 operator-(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 operator*(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 operator/(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
METALHEAD_INLINE F32 sqrt(F32 x) { return {_mm512_sqrt_ps(x.v)}; }
METALHEAD_INLINE F32 abs(F32 x) { return {_mm512_abs_ps(x.v)}; }
/// The second operand where one of them is NaN.
METALHEAD_INLINE F32 max(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 min(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 copy_sign(F32 magnitude, F32 sign) {
  return {_mm512_or_ps(magnitude.v, _mm512_and_ps(sign.v, _mm512_set1_ps(-0.0f)))};
}
/// a < b ? x : y
METALHEAD_INLINE F32 select_less(F32 a, F32 b, F32 x, F32 y) {
  return {_mm512_mask_mov_ps(y.v, _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), x.v)};
}
/// Lanes [begin, end) of x, the other lanes of `other`; any begin and end.
METALHEAD_INLINE F32 select_range(F32 x, int64_t begin, int64_t end, F32 other) {
  const int first = begin <= 0 ? 0 : begin >= kLanes ? kLanes : static_cast<int>(begin);
  const int last = end <= 0 ? 0 : end >= kLanes ? kLanes : static_cast<int>(end);
  const unsigned keep = ((1u << last) - 1u) & ~((1u << first) - 1u);
  return {_mm512_mask_mov_ps(other.v, static_cast<__mmask16>(keep), x.v)};
}
/// Lanes of x whose byte is not 0, the other lanes of `other`.
METALHEAD_INLINE F32 select_bytes(const uint8_t* bytes, F32 x, F32 other) {
  const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  return {_mm512_mask_mov_ps(other.v, _mm_test_epi8_mask(b, b), x.v)};
}

METALHEAD_INLINE float reduce_add(F32 x) { return _mm512_reduce_add_ps(x.v); }
METALHEAD_INLINE float reduce_max(F32 x) { return _mm512_reduce_max_ps(x.v); }

/// quads[i]: in lane 4 * q + k the sum of lanes 4 * q to 4 * q + 3 of v[4 * i + k].
METALHEAD_INLINE void add_quads(const F32 (&v)[kLanes], __m512 (&quads)[4]) {
  __m512 pairs[8];
  for (int i = 0; i < 8; ++i) {
    const __m512 low = _mm512_unpacklo_ps(v[2 * i].v, v[2 * i + 1].v);
    pairs[i] = _mm512_add_ps(low, _mm512_unpackhi_ps(v[2 * i].v, v[2 * i + 1].v));
  }
  for (int i = 0; i < 4; ++i) {
    const __m512 low = _mm512_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0x44);
    quads[i] = _mm512_add_ps(low, _mm512_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0xee));
  }
}

/// Lane i of the result is the sum of the lanes of v[i].
METALHEAD_INLINE F32 reduce_add_each(const F32 (&v)[kLanes]) {
  __m512 quads[4];
  add_quads(v, quads);
  const __m512 a = _mm512_add_ps(_mm512_shuffle_f32x4(quads[0], quads[1], 0x88),
                                 _mm512_shuffle_f32x4(quads[0], quads[1], 0xdd));
  const __m512 b = _mm512_add_ps(_mm512_shuffle_f32x4(quads[2], quads[3], 0x88),
                                 _mm512_shuffle_f32x4(quads[2], quads[3], 0xdd));
  return {_mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd))};
}

/// `a` becomes the values at even places of both, one vector after the other, `b` those at odd places.
METALHEAD_INLINE void unzip(F32& a, F32& b) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512 first = _mm512_permutex2var_ps(a.v, even, b.v);
  b.v = _mm512_permutex2var_ps(a.v, _mm512_or_si512(even, _mm512_set1_epi32(1)), b.v);
  a.v = first;
}
/// The inverse: values of `a` and `b` in turn.
METALHEAD_INLINE void zip(F32& a, F32& b) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512 first = _mm512_permutex2var_ps(a.v, low, b.v);
  b.v = _mm512_permutex2var_ps(a.v, _mm512_or_si512(low, _mm512_set1_epi32(8)), b.v);
  a.v = first;
}

/// Transposes each four by four values: lane 4 * q + k of v[i] becomes lane 4 * q + i of v[k].
METALHEAD_INLINE void transpose_quads(F32* v) {
  const __m512 a = _mm512_unpacklo_ps(v[0].v, v[1].v), b = _mm512_unpackhi_ps(v[0].v, v[1].v);
  const __m512 c = _mm512_unpacklo_ps(v[2].v, v[3].v), d = _mm512_unpackhi_ps(v[2].v, v[3].v);
  v[0].v = _mm512_shuffle_ps(a, c, 0x44);
  v[1].v = _mm512_shuffle_ps(a, c, 0xee);
  v[2].v = _mm512_shuffle_ps(b, d, 0x44);
  v[3].v = _mm512_shuffle_ps(b, d, 0xee);
}

/// Row i of the result holds lane i of every input row.
METALHEAD_INLINE void transpose(F32 (&v)[kLanes]) {
  METALHEAD_UNROLL
  for (int i = 0; i < kLanes; i += 4) transpose_quads(v + i);
  for (int i = 0; i < 4; ++i) {
    const __m512 low01 = _mm512_shuffle_f32x4(v[i].v, v[4 + i].v, 0x88);
    const __m512 high01 = _mm512_shuffle_f32x4(v[i].v, v[4 + i].v, 0xdd);
    const __m512 low23 = _mm512_shuffle_f32x4(v[8 + i].v, v[12 + i].v, 0x88);
    const __m512 high23 = _mm512_shuffle_f32x4(v[8 + i].v, v[12 + i].v, 0xdd);
    v[i].v = _mm512_shuffle_f32x4(low01, low23, 0x88);
    v[8 + i].v = _mm512_shuffle_f32x4(low01, low23, 0xdd);
    v[4 + i].v = _mm512_shuffle_f32x4(high01, high23, 0x88);
    v[12 + i].v = _mm512_shuffle_f32x4(high01, high23, 0xdd);
  }
}

METALHEAD_INLINE I32 splat(int32_t x) { return {_mm512_set1_epi32(x)}; }
METALHEAD_INLINE I32 iota() {
  return {_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)};
}
METALHEAD_INLINE I32 load(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
METALHEAD_INLINE void store(int32_t* p, I32 x) { _mm512_storeu_si512(p, x.v); }
METALHEAD_INLINE I32 operator+(I32 a, I32 b) { return {_mm512_add_epi32(a.v, b.v)}; }
METALHEAD_INLINE I32 operator-(I32 a, I32 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
METALHEAD_INLINE I32 operator&(I32 a, I32 b) { return {_mm512_and_si512(a.v, b.v)}; }
METALHEAD_INLINE I32 operator|(I32 a, I32 b) { return {_mm512_or_si512(a.v, b.v)}; }
METALHEAD_INLINE I32 operator^(I32 a, I32 b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int kBits>
METALHEAD_INLINE I32 shift_left(I32 x) {
  return {_mm512_slli_epi32(x.v, kBits)};
}
/// Logical: zeros come in from the left.
template <int kBits>
METALHEAD_INLINE I32 shift_right(I32 x) {
  return {_mm512_srli_epi32(x.v, kBits)};
}
METALHEAD_INLINE F32 as_float(I32 x) { return {_mm512_castsi512_ps(x.v)}; }
METALHEAD_INLINE I32 as_int(F32 x) { return {_mm512_castps_si512(x.v)}; }
METALHEAD_INLINE F32 to_float(I32 x) { return {_mm512_cvtepi32_ps(x.v)}; }
/// Round to nearest, ties to even.
METALHEAD_INLINE I32 round_to_int(F32 x) { return {_mm512_cvtps_epi32(x.v)}; }
/// All bits set in the lanes where a < b, else 0.
METALHEAD_INLINE I32 less(F32 a, F32 b) {
  return {_mm512_movm_epi32(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ))};
}

/// One bit for each lane.
using LaneMask = __mmask16;
constexpr LaneMask kAllLanes = 0xffff;
/// Those of `lanes` where a <= b; not where one of them is NaN.
METALHEAD_INLINE LaneMask lanes_not_above(F32 a, F32 b, LaneMask lanes) {
  return _mm512_mask_cmp_ps_mask(lanes, a.v, b.v, _CMP_LE_OQ);
}

/// kLanes bytes, each widened to a lane.
METALHEAD_INLINE I32 load_bytes(const uint8_t* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
/// The low byte of each lane.
METALHEAD_INLINE void store_bytes(uint8_t* p, I32 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.v));
}
/// kLanes 4-bit codes from kLanes / 2 bytes, the low nibble of a byte first.
METALHEAD_INLINE I32 load_nibbles(const uint8_t* p) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  const __m128i high = _mm_srli_epi16(bytes, 4);
  const __m512i wide = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(bytes, high));
  return {_mm512_and_si512(wide, _mm512_set1_epi32(15))};
}

/// Sixteen float32 values that lanes are looked up in.
struct Table16 {
  __m512 values;
};
METALHEAD_INLINE Table16 load_table16(const float* values) { return {_mm512_loadu_ps(values)}; }
/// values[index & 15] for each lane.
METALHEAD_INLINE F32 lookup(const Table16& table, I32 index) {
  return {_mm512_permutexvar_ps(index.v, table.values)};
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
