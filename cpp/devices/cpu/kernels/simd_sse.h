// The vector layer on SSE4.2 (x86-64-v2, no fused multiply-add): 4 lanes.
#pragma once

#include <nmmintrin.h>

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

constexpr int kLanes = 4;
constexpr int kVectorRegisters = 16;

struct F32 {
  __m128 v;
};
struct I32 {
  __m128i v;
};

/// All bits set in the first `count` lanes.
METALHEAD_INLINE __m128i first_lanes(int count) {
  return _mm_cmpgt_epi32(_mm_set1_epi32(count), _mm_setr_epi32(0, 1, 2, 3));
}
METALHEAD_INLINE __m128i load_halves(const void* p) {
  return _mm_cvtepu16_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
}
METALHEAD_INLINE __m128i load_halves_partial(const void* p, int count) {
  uint16_t copy[4] = {};
  for (int i = 0; i < count; ++i) copy[i] = static_cast<const uint16_t*>(p)[i];
  return load_halves(copy);
}

METALHEAD_INLINE F32 splat(float x) { return {_mm_set1_ps(x)}; }
METALHEAD_INLINE F32 zero() { return {_mm_setzero_ps()}; }
METALHEAD_INLINE float first_lane(F32 x) { return _mm_cvtss_f32(x.v); }

/// Float16 bits in the low half of each lane. Scaling by 2^112 moves the exponent, subnormals included.
METALHEAD_INLINE F32 from_float16_bits(__m128i bits) {
  const __m128i magnitude = _mm_slli_epi32(_mm_and_si128(bits, _mm_set1_epi32(0x7fff)), 13);
  const __m128i sign = _mm_slli_epi32(_mm_and_si128(bits, _mm_set1_epi32(0x8000)), 16);
  const __m128 scaled = _mm_mul_ps(_mm_castsi128_ps(magnitude), _mm_castsi128_ps(_mm_set1_epi32(0x77800000)));
  const __m128i special = _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x0f7fffff));
  const __m128i top = _mm_and_si128(special, _mm_set1_epi32(0x7f800000));
  return {_mm_or_ps(_mm_castsi128_ps(_mm_or_si128(sign, top)), scaled)};
}
METALHEAD_INLINE F32 from_bfloat16_bits(__m128i bits) { return {_mm_castsi128_ps(_mm_slli_epi32(bits, 16))}; }

METALHEAD_INLINE F32 load(const float* p) { return {_mm_loadu_ps(p)}; }
METALHEAD_INLINE F32 load(const Float16* p) { return from_float16_bits(load_halves(p)); }
METALHEAD_INLINE F32 load(const BFloat16* p) { return from_bfloat16_bits(load_halves(p)); }

/// Values at even (odd) places of 2 * kLanes values: the cheapest way to widen them.
METALHEAD_INLINE F32 load_even(const BFloat16* p) {
  const __m128i pairs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm_castsi128_ps(_mm_slli_epi32(pairs, 16))};
}
METALHEAD_INLINE F32 load_odd(const BFloat16* p) {
  const __m128i pairs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm_castsi128_ps(_mm_and_si128(pairs, _mm_set1_epi32(-65536)))};
}

/// kCount floats over and over: 2.
template <int kCount>
METALHEAD_INLINE F32 load_repeated(const float* p) {
  static_assert(kCount == 2);
  double both;
  __builtin_memcpy(&both, p, sizeof(both));
  return {_mm_castpd_ps(_mm_set1_pd(both))};
}

/// The first `count` (0 to kLanes) values, the other lanes 0; touches no memory past them.
METALHEAD_INLINE F32 load_partial(const float* p, int count) {
  float copy[4] = {};
  for (int i = 0; i < count; ++i) copy[i] = p[i];
  return load(copy);
}
METALHEAD_INLINE F32 load_partial(const Float16* p, int count) {
  return from_float16_bits(load_halves_partial(p, count));
}
METALHEAD_INLINE F32 load_partial(const BFloat16* p, int count) {
  return from_bfloat16_bits(load_halves_partial(p, count));
}

/// Round to nearest, ties to even, in the low half of each lane; NaN stays NaN.
METALHEAD_INLINE __m128i to_float16_bits(F32 x) {
  const __m128i bits = _mm_castps_si128(x.v);
  const __m128i magnitude = _mm_and_si128(bits, _mm_set1_epi32(0x7fffffff));
  const __m128i sign = _mm_and_si128(_mm_srli_epi32(bits, 16), _mm_set1_epi32(0x8000));
  const __m128i odd = _mm_and_si128(_mm_srli_epi32(magnitude, 13), _mm_set1_epi32(1));
  const __m128i rebased = _mm_sub_epi32(magnitude, _mm_set1_epi32(0x38000000 - 0xfff));
  const __m128i normal = _mm_srli_epi32(_mm_add_epi32(rebased, odd), 13);
  // Adding 0.5 leaves a subnormal's bits, rounded, at the end of the mantissa.
  const __m128 moved = _mm_add_ps(_mm_castsi128_ps(magnitude), _mm_set1_ps(0.5f));
  const __m128i subnormal = _mm_sub_epi32(_mm_castps_si128(moved), _mm_set1_epi32(0x3f000000));
  const __m128i is_nan = _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7f800000));
  const __m128i special = _mm_or_si128(_mm_set1_epi32(0x7c00), _mm_and_si128(is_nan, _mm_set1_epi32(0x200)));
  const __m128i is_small = _mm_cmplt_epi32(magnitude, _mm_set1_epi32(0x38800000));
  const __m128i is_big = _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x477fefff));
  const __m128i finite = _mm_blendv_epi8(normal, subnormal, is_small);
  return _mm_or_si128(sign, _mm_blendv_epi8(finite, special, is_big));
}
METALHEAD_INLINE __m128i to_bfloat16_bits(F32 x) {
  const __m128i bits = _mm_castps_si128(x.v);
  const __m128i odd = _mm_and_si128(_mm_srli_epi32(bits, 16), _mm_set1_epi32(1));
  const __m128i rounded = _mm_add_epi32(bits, _mm_add_epi32(odd, _mm_set1_epi32(0x7fff)));
  const __m128i quiet = _mm_or_si128(bits, _mm_set1_epi32(0x400000));
  const __m128i nan = _mm_castps_si128(_mm_cmpunord_ps(x.v, x.v));
  return _mm_srli_epi32(_mm_blendv_epi8(rounded, quiet, nan), 16);
}

METALHEAD_INLINE void store(float* p, F32 x) { _mm_storeu_ps(p, x.v); }
METALHEAD_INLINE void store(Float16* p, F32 x) {
  const __m128i halves = to_float16_bits(x);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi32(halves, halves));
}
METALHEAD_INLINE void store(BFloat16* p, F32 x) {
  const __m128i halves = to_bfloat16_bits(x);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi32(halves, halves));
}
template <class T>
METALHEAD_INLINE void store_partial(T* p, F32 x, int count) {
  T copy[4];
  store(copy, x);
  for (int i = 0; i < count; ++i) p[i] = copy[i];
}

METALHEAD_INLINE F32 operator+(F32 a, F32 b) { return {_mm_add_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 operator-(F32 a, F32 b) { return {_mm_sub_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 operator*(F32 a, F32 b) { return {_mm_mul_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 operator/(F32 a, F32 b) { return {_mm_div_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 fma(F32 a, F32 b, F32 c) { return {_mm_add_ps(_mm_mul_ps(a.v, b.v), c.v)}; }
METALHEAD_INLINE F32 sqrt(F32 x) { return {_mm_sqrt_ps(x.v)}; }
METALHEAD_INLINE F32 abs(F32 x) { return {_mm_andnot_ps(_mm_set1_ps(-0.0f), x.v)}; }
/// The second operand where one of them is NaN.
METALHEAD_INLINE F32 max(F32 a, F32 b) { return {_mm_max_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 min(F32 a, F32 b) { return {_mm_min_ps(a.v, b.v)}; }
METALHEAD_INLINE F32 copy_sign(F32 magnitude, F32 sign) {
  return {_mm_or_ps(magnitude.v, _mm_and_ps(sign.v, _mm_set1_ps(-0.0f)))};
}
/// a < b ? x : y
METALHEAD_INLINE F32 select_less(F32 a, F32 b, F32 x, F32 y) {
  return {_mm_blendv_ps(y.v, x.v, _mm_cmplt_ps(a.v, b.v))};
}
/// Lanes [begin, end) of x, the other lanes of `other`; any begin and end.
METALHEAD_INLINE F32 select_range(F32 x, int64_t begin, int64_t end, F32 other) {
  const int first = begin <= 0 ? 0 : begin >= kLanes ? kLanes : static_cast<int>(begin);
  const int last = end <= 0 ? 0 : end >= kLanes ? kLanes : static_cast<int>(end);
  const __m128i keep = _mm_andnot_si128(first_lanes(first), first_lanes(last));
  return {_mm_blendv_ps(other.v, x.v, _mm_castsi128_ps(keep))};
}

METALHEAD_INLINE float reduce_add(F32 x) {
  const __m128 sum = _mm_add_ps(x.v, _mm_movehl_ps(x.v, x.v));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}
METALHEAD_INLINE float reduce_max(F32 x) {
  const __m128 top = _mm_max_ps(x.v, _mm_movehl_ps(x.v, x.v));
  return _mm_cvtss_f32(_mm_max_ss(top, _mm_movehdup_ps(top)));
}

/// `a` becomes the values at even places of both, one vector after the other, `b` those at odd places.
METALHEAD_INLINE void unzip(F32& a, F32& b) {
  const __m128 even = _mm_shuffle_ps(a.v, b.v, 0x88);
  b.v = _mm_shuffle_ps(a.v, b.v, 0xdd);
  a.v = even;
}
/// The inverse: values of `a` and `b` in turn.
METALHEAD_INLINE void zip(F32& a, F32& b) {
  const __m128 low = _mm_unpacklo_ps(a.v, b.v);
  b.v = _mm_unpackhi_ps(a.v, b.v);
  a.v = low;
}

/// Row i of the result holds lane i of every input row.
METALHEAD_INLINE void transpose(F32 (&v)[kLanes]) {
  const __m128 a = _mm_unpacklo_ps(v[0].v, v[1].v), b = _mm_unpackhi_ps(v[0].v, v[1].v);
  const __m128 c = _mm_unpacklo_ps(v[2].v, v[3].v), d = _mm_unpackhi_ps(v[2].v, v[3].v);
  v[0].v = _mm_movelh_ps(a, c);
  v[1].v = _mm_movehl_ps(c, a);
  v[2].v = _mm_movelh_ps(b, d);
  v[3].v = _mm_movehl_ps(d, b);
}
/// Lane i of the result is the sum of the lanes of v[i].
METALHEAD_INLINE F32 reduce_add_each(const F32 (&v)[kLanes]) {
  return {_mm_hadd_ps(_mm_hadd_ps(v[0].v, v[1].v), _mm_hadd_ps(v[2].v, v[3].v))};
}

METALHEAD_INLINE I32 splat(int32_t x) { return {_mm_set1_epi32(x)}; }
METALHEAD_INLINE I32 iota() { return {_mm_setr_epi32(0, 1, 2, 3)}; }
METALHEAD_INLINE I32 load(const int32_t* p) { return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))}; }
METALHEAD_INLINE void store(int32_t* p, I32 x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), x.v); }
METALHEAD_INLINE I32 operator+(I32 a, I32 b) { return {_mm_add_epi32(a.v, b.v)}; }
METALHEAD_INLINE I32 operator-(I32 a, I32 b) { return {_mm_sub_epi32(a.v, b.v)}; }
METALHEAD_INLINE I32 operator&(I32 a, I32 b) { return {_mm_and_si128(a.v, b.v)}; }
METALHEAD_INLINE I32 operator|(I32 a, I32 b) { return {_mm_or_si128(a.v, b.v)}; }
METALHEAD_INLINE I32 operator^(I32 a, I32 b) { return {_mm_xor_si128(a.v, b.v)}; }
template <int kBits>
METALHEAD_INLINE I32 shift_left(I32 x) {
  return {_mm_slli_epi32(x.v, kBits)};
}
/// Logical: zeros come in from the left.
template <int kBits>
METALHEAD_INLINE I32 shift_right(I32 x) {
  return {_mm_srli_epi32(x.v, kBits)};
}
METALHEAD_INLINE F32 as_float(I32 x) { return {_mm_castsi128_ps(x.v)}; }
METALHEAD_INLINE I32 as_int(F32 x) { return {_mm_castps_si128(x.v)}; }
METALHEAD_INLINE F32 to_float(I32 x) { return {_mm_cvtepi32_ps(x.v)}; }
/// Round to nearest, ties to even.
METALHEAD_INLINE I32 round_to_int(F32 x) { return {_mm_cvtps_epi32(x.v)}; }
/// All bits set in the lanes where a < b, else 0.
METALHEAD_INLINE I32 less(F32 a, F32 b) { return {_mm_castps_si128(_mm_cmplt_ps(a.v, b.v))}; }

/// kLanes bytes, each widened to a lane.
METALHEAD_INLINE I32 load_bytes(const uint8_t* p) {
  int32_t word;
  __builtin_memcpy(&word, p, 4);
  return {_mm_cvtepu8_epi32(_mm_cvtsi32_si128(word))};
}
/// Lanes of x whose byte is not 0, the other lanes of `other`.
METALHEAD_INLINE F32 select_bytes(const uint8_t* bytes, F32 x, F32 other) {
  const __m128i dropped = _mm_cmpeq_epi32(load_bytes(bytes).v, _mm_setzero_si128());
  return {_mm_blendv_ps(x.v, other.v, _mm_castsi128_ps(dropped))};
}
/// The low byte of each lane.
METALHEAD_INLINE void store_bytes(uint8_t* p, I32 x) {
  const __m128i order = _mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const int32_t word = _mm_cvtsi128_si32(_mm_shuffle_epi8(x.v, order));
  __builtin_memcpy(p, &word, 4);
}
/// kLanes 4-bit codes from kLanes / 2 bytes, the low nibble of a byte first.
METALHEAD_INLINE I32 load_nibbles(const uint8_t* p) {
  const __m128i bytes = _mm_cvtsi32_si128(p[0] | p[1] << 8);
  const __m128i wide = _mm_cvtepu8_epi32(_mm_unpacklo_epi8(bytes, _mm_srli_epi16(bytes, 4)));
  return {_mm_and_si128(wide, _mm_set1_epi32(15))};
}

/// Sixteen float32 values that lanes are looked up in.
struct Table16 {
  const float* values;
};
/// Keeps the address: the values must outlive the table.
METALHEAD_INLINE Table16 load_table16(const float* values) { return {values}; }
/// values[index] for each lane; indices from 0 to 15.
METALHEAD_INLINE F32 lookup(const Table16& table, I32 index) {
  const float* t = table.values;
  return {_mm_setr_ps(t[_mm_cvtsi128_si32(index.v)], t[_mm_extract_epi32(index.v, 1)],
                      t[_mm_extract_epi32(index.v, 2)], t[_mm_extract_epi32(index.v, 3)])};
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
