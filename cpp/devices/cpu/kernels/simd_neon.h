// The vector layer on NEON (arm64): 4 lanes.
#pragma once

#include <arm_neon.h>

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

constexpr int kLanes = 4;
constexpr int kVectorRegisters = 32;

struct F32 {
  float32x4_t v;
};
struct I32 {
  int32x4_t v;
};

METALHEAD_INLINE int32x4_t lane_numbers() {
  const int32_t numbers[4] = {0, 1, 2, 3};
  return vld1q_s32(numbers);
}
METALHEAD_INLINE uint16x4_t load_halves(const void* p) { return vld1_u16(static_cast<const uint16_t*>(p)); }
METALHEAD_INLINE uint16x4_t load_halves_partial(const void* p, int count) {
  uint16_t copy[4] = {};
  for (int i = 0; i < count; ++i) copy[i] = static_cast<const uint16_t*>(p)[i];
  return load_halves(copy);
}

METALHEAD_INLINE F32 splat(float x) { return {vdupq_n_f32(x)}; }
METALHEAD_INLINE F32 zero() { return {vdupq_n_f32(0.0f)}; }
METALHEAD_INLINE float first_lane(F32 x) { return vgetq_lane_f32(x.v, 0); }
METALHEAD_INLINE F32 from_float16_bits(uint16x4_t bits) { return {vcvt_f32_f16(vreinterpret_f16_u16(bits))}; }
METALHEAD_INLINE F32 from_bfloat16_bits(uint16x4_t bits) {
  return {vreinterpretq_f32_u32(vshll_n_u16(bits, 16))};
}

METALHEAD_INLINE F32 load(const float* p) { return {vld1q_f32(p)}; }
METALHEAD_INLINE F32 load(const Float16* p) { return from_float16_bits(load_halves(p)); }
METALHEAD_INLINE F32 load(const BFloat16* p) { return from_bfloat16_bits(load_halves(p)); }

/// Values at even (odd) places of 2 * kLanes values: the cheapest way to widen them.
METALHEAD_INLINE F32 load_even(const BFloat16* p) {
  const uint32x4_t pairs = vreinterpretq_u32_u16(vld1q_u16(reinterpret_cast<const uint16_t*>(p)));
  return {vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16))};
}
METALHEAD_INLINE F32 load_odd(const BFloat16* p) {
  const uint32x4_t pairs = vreinterpretq_u32_u16(vld1q_u16(reinterpret_cast<const uint16_t*>(p)));
  return {vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000u)))};
}

/// kCount floats over and over: 2.
template <int kCount>
METALHEAD_INLINE F32 load_repeated(const float* p) {
  static_assert(kCount == 2);
  const float32x2_t both = vld1_f32(p);
  return {vcombine_f32(both, both)};
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

/// Round to nearest, ties to even; NaN stays NaN.
METALHEAD_INLINE uint16x4_t to_float16_bits(F32 x) { return vreinterpret_u16_f16(vcvt_f16_f32(x.v)); }
METALHEAD_INLINE uint16x4_t to_bfloat16_bits(F32 x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x.v);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
  return vshrn_n_u32(vbslq_u32(vceqq_f32(x.v, x.v), rounded, quiet), 16);
}

METALHEAD_INLINE void store(float* p, F32 x) { vst1q_f32(p, x.v); }
METALHEAD_INLINE void store(Float16* p, F32 x) {
  vst1_u16(reinterpret_cast<uint16_t*>(p), to_float16_bits(x));
}
METALHEAD_INLINE void store(BFloat16* p, F32 x) {
  vst1_u16(reinterpret_cast<uint16_t*>(p), to_bfloat16_bits(x));
}
template <class T>
METALHEAD_INLINE void store_partial(T* p, F32 x, int count) {
  T copy[4];
  store(copy, x);
  for (int i = 0; i < count; ++i) p[i] = copy[i];
}

METALHEAD_INLINE F32 operator+(F32 a, F32 b) { return {vaddq_f32(a.v, b.v)}; }
METALHEAD_INLINE F32 operator-(F32 a, F32 b) { return {vsubq_f32(a.v, b.v)}; }
METALHEAD_INLINE F32 operator*(F32 a, F32 b) { return {vmulq_f32(a.v, b.v)}; }
METALHEAD_INLINE F32 operator/(F32 a, F32 b) { return {vdivq_f32(a.v, b.v)}; }
METALHEAD_INLINE F32 fma(F32 a, F32 b, F32 c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
METALHEAD_INLINE F32 sqrt(F32 x) { return {vsqrtq_f32(x.v)}; }
METALHEAD_INLINE F32 abs(F32 x) { return {vabsq_f32(x.v)}; }
/// The second operand where one of them is NaN.
METALHEAD_INLINE F32 max(F32 a, F32 b) { return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)}; }
METALHEAD_INLINE F32 min(F32 a, F32 b) { return {vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v)}; }
METALHEAD_INLINE F32 copy_sign(F32 magnitude, F32 sign) {
  return {vbslq_f32(vdupq_n_u32(0x80000000u), sign.v, magnitude.v)};
}
/// a < b ? x : y
METALHEAD_INLINE F32 select_less(F32 a, F32 b, F32 x, F32 y) {
  return {vbslq_f32(vcltq_f32(a.v, b.v), x.v, y.v)};
}
/// Lanes [begin, end) of x, the other lanes of `other`; any begin and end.
METALHEAD_INLINE F32 select_range(F32 x, int64_t begin, int64_t end, F32 other) {
  const int first = begin <= 0 ? 0 : begin >= kLanes ? kLanes : static_cast<int>(begin);
  const int last = end <= 0 ? 0 : end >= kLanes ? kLanes : static_cast<int>(end);
  const uint32x4_t from = vcgeq_s32(lane_numbers(), vdupq_n_s32(first));
  const uint32x4_t keep = vandq_u32(from, vcltq_s32(lane_numbers(), vdupq_n_s32(last)));
  return {vbslq_f32(keep, x.v, other.v)};
}

METALHEAD_INLINE float reduce_add(F32 x) { return vaddvq_f32(x.v); }
METALHEAD_INLINE float reduce_max(F32 x) { return vmaxvq_f32(x.v); }

/// `a` becomes the values at even places of both, one vector after the other, `b` those at odd places.
METALHEAD_INLINE void unzip(F32& a, F32& b) {
  const float32x4_t even = vuzp1q_f32(a.v, b.v);
  b.v = vuzp2q_f32(a.v, b.v);
  a.v = even;
}
/// The inverse: values of `a` and `b` in turn.
METALHEAD_INLINE void zip(F32& a, F32& b) {
  const float32x4_t low = vzip1q_f32(a.v, b.v);
  b.v = vzip2q_f32(a.v, b.v);
  a.v = low;
}

/// Row i of the result holds lane i of every input row.
METALHEAD_INLINE void transpose(F32 (&v)[kLanes]) {
  const float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(v[0].v, v[1].v));
  const float64x2_t b = vreinterpretq_f64_f32(vtrn2q_f32(v[0].v, v[1].v));
  const float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(v[2].v, v[3].v));
  const float64x2_t d = vreinterpretq_f64_f32(vtrn2q_f32(v[2].v, v[3].v));
  v[0].v = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
  v[1].v = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
  v[2].v = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
  v[3].v = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
}
/// Lane i of the result is the sum of the lanes of v[i].
METALHEAD_INLINE F32 reduce_add_each(const F32 (&v)[kLanes]) {
  return {vpaddq_f32(vpaddq_f32(v[0].v, v[1].v), vpaddq_f32(v[2].v, v[3].v))};
}

METALHEAD_INLINE I32 splat(int32_t x) { return {vdupq_n_s32(x)}; }
METALHEAD_INLINE I32 iota() { return {lane_numbers()}; }
METALHEAD_INLINE I32 load(const int32_t* p) { return {vld1q_s32(p)}; }
METALHEAD_INLINE void store(int32_t* p, I32 x) { vst1q_s32(p, x.v); }
METALHEAD_INLINE I32 operator+(I32 a, I32 b) { return {vaddq_s32(a.v, b.v)}; }
METALHEAD_INLINE I32 operator-(I32 a, I32 b) { return {vsubq_s32(a.v, b.v)}; }
METALHEAD_INLINE I32 operator&(I32 a, I32 b) { return {vandq_s32(a.v, b.v)}; }
METALHEAD_INLINE I32 operator|(I32 a, I32 b) { return {vorrq_s32(a.v, b.v)}; }
METALHEAD_INLINE I32 operator^(I32 a, I32 b) { return {veorq_s32(a.v, b.v)}; }
template <int kBits>
METALHEAD_INLINE I32 shift_left(I32 x) {
  return {vshlq_n_s32(x.v, kBits)};
}
/// Logical: zeros come in from the left.
template <int kBits>
METALHEAD_INLINE I32 shift_right(I32 x) {
  // The instruction takes 1 to 32 only.
  if constexpr (kBits == 0)
    return x;
  else
    return {vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(x.v), kBits))};
}
METALHEAD_INLINE F32 as_float(I32 x) { return {vreinterpretq_f32_s32(x.v)}; }
METALHEAD_INLINE I32 as_int(F32 x) { return {vreinterpretq_s32_f32(x.v)}; }
METALHEAD_INLINE F32 to_float(I32 x) { return {vcvtq_f32_s32(x.v)}; }
/// Round to nearest, ties to even.
METALHEAD_INLINE I32 round_to_int(F32 x) { return {vcvtnq_s32_f32(x.v)}; }
/// All bits set in the lanes where a < b, else 0.
METALHEAD_INLINE I32 less(F32 a, F32 b) { return {vreinterpretq_s32_u32(vcltq_f32(a.v, b.v))}; }

/// kLanes bytes, each widened to a lane.
METALHEAD_INLINE I32 load_bytes(const uint8_t* p) {
  uint32_t word;
  __builtin_memcpy(&word, p, 4);
  const uint8x8_t bytes = vcreate_u8(word);
  return {vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))))};
}
/// Lanes of x whose byte is not 0, the other lanes of `other`.
METALHEAD_INLINE F32 select_bytes(const uint8_t* bytes, F32 x, F32 other) {
  return {vbslq_f32(vceqzq_s32(load_bytes(bytes).v), other.v, x.v)};
}
/// The low byte of each lane.
METALHEAD_INLINE void store_bytes(uint8_t* p, I32 x) {
  const uint16x4_t words = vmovn_u32(vreinterpretq_u32_s32(x.v));
  const uint8x8_t bytes = vmovn_u16(vcombine_u16(words, words));
  const uint32_t word = vget_lane_u32(vreinterpret_u32_u8(bytes), 0);
  __builtin_memcpy(p, &word, 4);
}
/// kLanes 4-bit codes from kLanes / 2 bytes, the low nibble of a byte first.
METALHEAD_INLINE I32 load_nibbles(const uint8_t* p) {
  const int32_t shifts[4] = {0, -4, -8, -12};
  const uint32x4_t word = vdupq_n_u32(static_cast<uint32_t>(p[0] | p[1] << 8));
  return {vreinterpretq_s32_u32(vandq_u32(vshlq_u32(word, vld1q_s32(shifts)), vdupq_n_u32(15)))};
}

/// Sixteen float32 values that lanes are looked up in.
struct Table16 {
  uint8x16x4_t bytes;
};
METALHEAD_INLINE Table16 load_table16(const float* values) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(values);
  return {{{vld1q_u8(bytes), vld1q_u8(bytes + 16), vld1q_u8(bytes + 32), vld1q_u8(bytes + 48)}}};
}
/// values[index] for each lane; indices from 0 to 15.
METALHEAD_INLINE F32 lookup(const Table16& table, I32 index) {
  const uint32x4_t scaled = vmulq_n_u32(vreinterpretq_u32_s32(index.v), 0x04040404u);
  const uint8x16_t at = vreinterpretq_u8_u32(vaddq_u32(scaled, vdupq_n_u32(0x03020100u)));
  return {vreinterpretq_f32_u8(vqtbl4q_u8(table.bytes, at))};
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
