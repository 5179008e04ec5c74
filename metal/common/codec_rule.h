// The scalar steps of the encoder's rule (docs/turboquant.md), which every device must take alike; shared by
// shaders and host.
#pragma once

#ifdef __METAL_VERSION__
#include <metal_stdlib>
#define METALHEAD_RULE inline
#define METALHEAD_RULE_TABLE constant
#define METALHEAD_BITS_OF(x) as_type<uint>(x)
#define METALHEAD_FLOAT_OF(x) as_type<float>(x)
#define METALHEAD_RULE_FMA(a, b, c) metal::fma(a, b, c)
typedef uint metalhead_bits;
#else
#include <cstdint>
#define METALHEAD_RULE inline __attribute__((always_inline))
#define METALHEAD_RULE_TABLE inline constexpr
#define METALHEAD_BITS_OF(x) __builtin_bit_cast(uint32_t, x)
#define METALHEAD_FLOAT_OF(x) __builtin_bit_cast(float, x)
#define METALHEAD_RULE_FMA(a, b, c) __builtin_fmaf(a, b, c)
typedef uint32_t metalhead_bits;
#endif

/// Divisors of u that `search` tries, in this order; a later one must be strictly better to win.
METALHEAD_RULE_TABLE float kSearchFactors5[5] = {0.9f, 0.95f, 1.0f, 1.05f, 1.1f};
METALHEAD_RULE_TABLE float kSearchFactors17[17] = {0.9f,   0.9125f, 0.925f, 0.9375f, 0.95f,  0.9625f,
                                                   0.975f, 0.9875f, 1.0f,   1.0125f, 1.025f, 1.0375f,
                                                   1.05f,  1.0625f, 1.075f, 1.0875f, 1.1f};

/// Scaled coordinates below this count as 0, so that no step meets a denormal number.
#define METALHEAD_NEGLIGIBLE 9.094947017729282e-13f  // 2^-40
/// Vectors whose largest coordinate has a smaller exponent field than this are multiplied by 2^100 first.
#define METALHEAD_TINY_EXPONENT 64
#define METALHEAD_TINY_SHIFT 100
/// Added to the scaled exponent: a vector with the largest exponent field E is multiplied by 2^(128 - E).
#define METALHEAD_TARGET_EXPONENT 128

/// Bits that a kernel sets in its status word.
enum CodecStatus { kStatusNotFinite = 1, kStatusNormOverflow = 2 };

METALHEAD_RULE int exponent_field(float x) { return static_cast<int>(METALHEAD_BITS_OF(x) >> 23 & 255u); }

/// 2^exponent for -126 <= exponent <= 127.
METALHEAD_RULE float power_of_two(int exponent) {
  return METALHEAD_FLOAT_OF(static_cast<metalhead_bits>(exponent + 127) << 23);
}

/// x * 2^100 for |x| < 2^-62, exact even where the machine flushes denormal numbers.
METALHEAD_RULE float lift_tiny(float x) {
  const metalhead_bits bits = METALHEAD_BITS_OF(x);
  const int field = exponent_field(x);
  const metalhead_bits mantissa = (bits & 0x7fffffu) | (field > 0 ? 0x800000u : 0u);
  const float magnitude = static_cast<float>(static_cast<int>(mantissa)) *
                          power_of_two((field > 0 ? field : 1) - 150 + METALHEAD_TINY_SHIFT);
  return (bits >> 31) != 0u ? -magnitude : magnitude;
}

/// x * 2^exponent for x > 0 not denormal, rounded once (ties to even), even where the machine flushes
/// denormal numbers.
METALHEAD_RULE float scale_by_power(float x, int exponent) {
  const int field = exponent_field(x) + exponent;
  const metalhead_bits mantissa = METALHEAD_BITS_OF(x) & 0x7fffffu;
  if (field >= 255) return METALHEAD_FLOAT_OF(0x7f800000u);
  if (field > 0) return METALHEAD_FLOAT_OF(static_cast<metalhead_bits>(field) << 23 | mantissa);
  const int shift = 1 - field;
  if (shift > 24) return 0.0f;
  const metalhead_bits whole = mantissa | 0x800000u;
  const metalhead_bits half = 1u << (shift - 1);
  const metalhead_bits rest = whole & ((1u << shift) - 1u);
  const metalhead_bits kept = whole >> shift;
  return METALHEAD_FLOAT_OF(kept + (rest > half || (rest == half && (kept & 1u) != 0u) ? 1u : 0u));
}

/// The correctly rounded square root of x, given one within an ulp; x in [2^-100, 2^100].
METALHEAD_RULE float rounded_sqrt(float x, float estimate) {
  const float below = METALHEAD_FLOAT_OF(METALHEAD_BITS_OF(estimate) - 1u);
  const float above = METALHEAD_FLOAT_OF(METALHEAD_BITS_OF(estimate) + 1u);
  if (METALHEAD_RULE_FMA(-estimate, below, x) <= 0.0f) return below;
  if (METALHEAD_RULE_FMA(-estimate, above, x) > 0.0f) return above;
  return estimate;
}

/// The correctly rounded a / b, given one within an ulp; both positive, the quotient in [2^-100, 2^100].
METALHEAD_RULE float rounded_quotient(float a, float b, float estimate) {
  const float below = METALHEAD_FLOAT_OF(METALHEAD_BITS_OF(estimate) - 1u);
  const float above = METALHEAD_FLOAT_OF(METALHEAD_BITS_OF(estimate) + 1u);
  const float error = METALHEAD_RULE_FMA(-estimate, b, a);
  const float error_below = METALHEAD_RULE_FMA(-below, b, a);
  const float error_above = METALHEAD_RULE_FMA(-above, b, a);
  if (error < 0.0f && error_below < -error) return below;
  if (error > 0.0f && -error_above < error) return above;
  return estimate;
}
