// The vector layer on AVX2 with FMA and F16C: 8 lanes.
#pragma once

#include <immintrin.h>

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

constexpr int kLanes = 8;
constexpr int kVectorRegisters = 16;

struct F32 {
  __m256 v;
};
struct I32 {
  __m256i v;
};

/// All bits set in the first `count` lanes.
METALHEAD_INLINE __m256i first_lanes(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
METALHEAD_INLINE __m128i load_halves(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
METALHEAD_INLINE __m128i load_halves_partial(const void* p, int count) {
  uint16_t copy[8] = {};
  for (int i = 0; i < count; ++i) copy[i] = static_cast<const uint16_t*>(p)[i];
  return load_halves(copy);
}

METALHEAD_INLINE F32 splat(float x) { return {_mm256_set1_ps(x)}; }
METALHEAD_INLINE F32 zero() { return {_mm256_setzero_ps()}; }
METALHEAD_INLINE float first_lane(F32 x) { return _mm256_cvtss_f32(x.v); }
METALHEAD_INLINE F32 from_float16_bits(__m128i bits) { return {_mm256_cvtph_ps(bits)}; }
METALHEAD_INLINE F32 from_bfloat16_bits(__m128i bits) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16))};
}

METALHEAD_INLINE F32 load(const float* p) { return {_mm256_loadu_ps(p)}; }
METALHEAD_INLINE F32 load(const Float16* p) { return from_float16_bits(load_halves(p)); }
METALHEAD_INLINE F32 load(const BFloat16* p) { return from_bfloat16_bits(load_halves(p)); }

/// Values at even (odd) places of 2 * kLanes values: the cheapest way to widen them.
METALHEAD_INLINE F32 load_even(const BFloat16* p) {
  const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16))};
}
METALHEAD_INLINE F32 load_odd(const BFloat16* p) {
  const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(-65536)))};
}

/// kCount floats over and over: 2 or 4.
template <int kCount>
METALHEAD_INLINE F32 load_repeated(const float* p) {
  static_assert(kCount == 2 || kCount == 4);
  if constexpr (kCount == 4) return {_mm256_broadcast_ps(reinterpret_cast<const __m128*>(p))};
  double both;
  __builtin_memcpy(&both, p, sizeof(both));
  return {_mm256_castpd_ps(_mm256_set1_pd(both))};
}

/// The first `count` (0 to kLanes) values, the other lanes 0; touches no memory past them.
METALHEAD_INLINE F32 load_partial(const float* p, int count) {
  return {_mm256_maskload_ps(p, first_lanes(count))};
}
METALHEAD_INLINE F32 load_partial(const Float16* p, int count) {
  return from_float16_bits(load_halves_partial(p, count));
}
METALHEAD_INLINE F32 load_partial(const BFloat16* p, int count) {
  return from_bfloat16_bits(load_halves_partial(p, count));
}

/// Round to nearest, ties to even; NaN stays NaN.
METALHEAD_INLINE __m128i to_float16_bits(F32 x) {
  return _mm256_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
METALHEAD_INLINE __m128i to_bfloat16_bits(F32 x) {
  const __m256i bits = _mm256_castps_si256(x.v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}

METALHEAD_INLINE void store(float* p, F32 x) { _mm256_storeu_ps(p, x.v); }
METALHEAD_INLINE void store(Float16* p, F32 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_float16_bits(x));
}
METALHEAD_INLINE void store(BFloat16* p, F32 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_bfloat16_bits(x));
}
METALHEAD_INLINE void store_partial(float* p, F32 x, int count) {
  _mm256_maskstore_ps(p, first_lanes(count), x.v);
}
template <class Half>
METALHEAD_INLINE void store_partial(Half* p, F32 x, int count) {
  Half copy[8];
  store(copy, x);
  for (int i = 0; i < count; ++i) p[i] = copy[i];
}

METALHEAD_INLINE F32 operator+(F32 a, F32 b) { return {_mm256_add_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 operator-(F32 a, F32 b) { return {_mm256_sub_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 operator*(F32 a, F32 b) { return {_mm256_mul_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 operator/(F32 a, F32 b) { return {_mm256_div_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 fma(F32 a, F32 b, F32 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
METALHEAD_INLINE F32 sqrt(F32 x) { return {_mm256_sqrt_ps(x.v)}; }
METALHEAD_INLINE F32 abs(F32 x) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.v)}; }
/// The second operand where one of them is NaN.
METALHEAD_INLINE F32 max(F32 a, F32 b) { return {_mm256_max_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 min(F32 a, F32 b) { return {_mm256_min_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 copy_sign(F32 magnitude, F32 sign) {
  return {_mm256_or_ps(magnitude.v, _mm256_and_ps(sign.v, _mm256_set1_ps(-0.0f)))};
}
/// a < b ? x : y
METALHEAD_INLINE F32 select_less(F32 a, F32 b, F32 x, F32 y) {
  return {_mm256_blendv_ps(y.v, x.v, _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))};
}
/// Lanes [begin, end) of x, the other lanes of `other`; any begin and end.
METALHEAD_INLINE F32 select_range(F32 x, int64_t begin, int64_t end, F32 other) {
  const int first = begin <= 0 ? 0 : begin >= kLanes ? kLanes : static_cast<int>(begin);
  const int last = end <= 0 ? 0 : end >= kLanes ? kLanes : static_cast<int>(end);
  const __m256i keep = _mm256_andnot_si256(first_lanes(first), first_lanes(last));
  return {_mm256_blendv_ps(other.v, x.v, _mm256_castsi256_ps(keep))};
}
/// Lanes of x whose byte is not 0, the other lanes of `other`.
METALHEAD_INLINE F32 select_bytes(const uint8_t* bytes, F32 x, F32 other) {
  const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
  const __m256i dropped = _mm256_cmpeq_epi32(wide, _mm256_setzero_si256());
  return {_mm256_blendv_ps(x.v, other.v, _mm256_castsi256_ps(dropped))};
}

METALHEAD_INLINE float reduce_add(F32 x) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}
METALHEAD_INLINE float reduce_max(F32 x) {
  __m128 top = _mm_max_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1));
  top = _mm_max_ps(top, _mm_movehl_ps(top, top));
  return _mm_cvtss_f32(_mm_max_ss(top, _mm_movehdup_ps(top)));
}

/// Lane i of the result is the sum of the lanes of v[i].
METALHEAD_INLINE F32 reduce_add_each(const F32 (&v)[kLanes]) {
  __m256 pairs[4], quads[2];
  for (int i = 0; i < 4; ++i) {
    const __m256 low = _mm256_unpacklo_ps(v[2 * i].v, v[2 * i + 1].v);
    pairs[i] = _mm256_add_ps(low, _mm256_unpackhi_ps(v[2 * i].v, v[2 * i + 1].v));
  }
  for (int i = 0; i < 2; ++i) {
    const __m256 low = _mm256_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0x44);
    quads[i] = _mm256_add_ps(low, _mm256_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0xee));
  }
  return {_mm256_add_ps(_mm256_permute2f128_ps(quads[0], quads[1], 0x20),
                        _mm256_permute2f128_ps(quads[0], quads[1], 0x31))};
}

/// `a` becomes the values at even places of both, one vector after the other, `b` those at odd places.
METALHEAD_INLINE void unzip(F32& a, F32& b) {
  const __m256 even = _mm256_shuffle_ps(a.v, b.v, 0x88), odd = _mm256_shuffle_ps(a.v, b.v, 0xdd);
  a.v = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(even), 0xd8));
  b.v = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(odd), 0xd8));
}
/// The inverse: values of `a` and `b` in turn.
METALHEAD_INLINE void zip(F32& a, F32& b) {
  const __m256 low = _mm256_unpacklo_ps(a.v, b.v), high = _mm256_unpackhi_ps(a.v, b.v);
  a.v = _mm256_permute2f128_ps(low, high, 0x20);
  b.v = _mm256_permute2f128_ps(low, high, 0x31);
}

/// Transposes each four by four values: lane 4 * q + k of v[i] becomes lane 4 * q + i of v[k].
METALHEAD_INLINE void transpose_quads(F32* v) {
  const __m256 a = _mm256_unpacklo_ps(v[0].v, v[1].v), b = _mm256_unpackhi_ps(v[0].v, v[1].v);
  const __m256 c = _mm256_unpacklo_ps(v[2].v, v[3].v), d = _mm256_unpackhi_ps(v[2].v, v[3].v);
  v[0].v = _mm256_shuffle_ps(a, c, 0x44);
  v[1].v = _mm256_shuffle_ps(a, c, 0xee);
  v[2].v = _mm256_shuffle_ps(b, d, 0x44);
  v[3].v = _mm256_shuffle_ps(b, d, 0xee);
}

/// Row i of the result holds lane i of every input row.
METALHEAD_INLINE void transpose(F32 (&v)[kLanes]) {
  transpose_quads(v);
  transpose_quads(v + 4);
  for (int i = 0; i < 4; ++i) {
    const __m256 low = v[i].v;
    v[i].v = _mm256_permute2f128_ps(low, v[4 + i].v, 0x20);
    v[4 + i].v = _mm256_permute2f128_ps(low, v[4 + i].v, 0x31);
  }
}

METALHEAD_INLINE I32 splat(int32_t x) { return {_mm256_set1_epi32(x)}; }
METALHEAD_INLINE I32 iota() { return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)}; }
METALHEAD_INLINE I32 load(const int32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
METALHEAD_INLINE void store(int32_t* p, I32 x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.v); }
METALHEAD_INLINE I32 operator+(I32 a, I32 b) { return {_mm256_add_epi32(a.v, b.v)}; }
METALHEAD_INLINE I32 operator-(I32 a, I32 b) { return {_mm256_sub_epi32(a.v, b.v)}; }
METALHEAD_INLINE I32 operator&(I32 a, I32 b) { return {_mm256_and_si256(a.v, b.v)}; }
METALHEAD_INLINE I32 operator|(I32 a, I32 b) { return {_mm256_or_si256(a.v, b.v)}; }
METALHEAD_INLINE I32 operator^(I32 a, I32 b) { return {_mm256_xor_si256(a.v, b.v)}; }
template <int kBits>
METALHEAD_INLINE I32 shift_left(I32 x) {
  return {_mm256_slli_epi32(x.v, kBits)};
}
/// Logical: zeros come in from the left.
template <int kBits>
METALHEAD_INLINE I32 shift_right(I32 x) {
  return {_mm256_srli_epi32(x.v, kBits)};
}
METALHEAD_INLINE F32 as_float(I32 x) { return {_mm256_castsi256_ps(x.v)}; }
METALHEAD_INLINE I32 as_int(F32 x) { return {_mm256_castps_si256(x.v)}; }
METALHEAD_INLINE F32 to_float(I32 x) { return {_mm256_cvtepi32_ps(x.v)}; }
/// Round to nearest, ties to even.
METALHEAD_INLINE I32 round_to_int(F32 x) { return {_mm256_cvtps_epi32(x.v)}; }
/// All bits set in the lanes where a < b, else 0.
METALHEAD_INLINE I32 less(F32 a, F32 b) { return {_mm256_castps_si256(_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))}; }

/// kLanes bytes, each widened to a lane.
METALHEAD_INLINE I32 load_bytes(const uint8_t* p) {
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
}
/// The low byte of each lane.
METALHEAD_INLINE void store_bytes(uint8_t* p, I32 x) {
  const __m256i low = _mm256_and_si256(x.v, _mm256_set1_epi32(0xff));
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
/// kLanes 4-bit codes from kLanes / 2 bytes, the low nibble of a byte first.
METALHEAD_INLINE I32 load_nibbles(const uint8_t* p) {
  uint32_t word;
  __builtin_memcpy(&word, p, 4);
  const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
  const __m256i wide = _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(word)), shifts);
  return {_mm256_and_si256(wide, _mm256_set1_epi32(15))};
}

/// Sixteen float32 values that lanes are looked up in.
struct Table16 {
  __m256 low, high;
};
METALHEAD_INLINE Table16 load_table16(const float* values) {
  return {_mm256_loadu_ps(values), _mm256_loadu_ps(values + 8)};
}
/// values[index] for each lane; indices from 0 to 15.
METALHEAD_INLINE F32 lookup(const Table16& table, I32 index) {
  const __m256 is_high = _mm256_castsi256_ps(_mm256_slli_epi32(index.v, 28));
  return {_mm256_blendv_ps(_mm256_permutevar8x32_ps(table.low, index.v),
                           _mm256_permutevar8x32_ps(table.high, index.v), is_high)};
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
