// Fields of codes whose bits lie in two planes: the planes are joined once for all codes of a lane, in one
// word of the codes at even places and one of those at odd places, where the high bits leave room for the low
// ones.
#pragma once

#include <cstdint>

#include "devices/cpu/kernels/tq_fields.h"
#include "devices/cpu/kernels/tq_planes.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// The low `width` bits of `bits` over and over.
constexpr int32_t repeated(uint32_t bits, int width) {
  uint32_t word = 0;
  for (int i = 0; i < 32; i += width) word |= bits << i;
  return static_cast<int32_t>(word);
}

/// The low plane of kParts codes a lane: the bits of codes 2k and 2k + 1 from bit k * kSpan up, other bits
/// as they come.
template <int kLow, int kSpan, int kParts, class Rows>
METALHEAD_INLINE I32 load_spread(Rows plane) {
  if constexpr (kLow == 2 && kParts == 8) {
    const I32 bytes = load_split_fields(plane);
    return bytes | shift_left<4>(bytes);
  }
  I32 x = load_fields<kLow * kParts>(plane);
  if constexpr (kParts == 8 && kSpan == 4) x = (x | shift_left<4>(x)) & splat(int32_t{0x0f0f});
  if constexpr (kParts == 8 && kSpan == 8) x = x | shift_left<12>(x);
  if constexpr (kParts >= 4) x = x | shift_left<kSpan - 2 * kLow>(x);
  return x;
}

#ifdef __AVX2__
/// A codebook is its lower half and the same with the other sign in reverse: the lower half is looked up by
/// codes that are reversed where needed, and the sign follows. Pays where fewer tables do.
constexpr bool uses_lower_half(int bits) { return bits == 6 || (bits == 5 && kLanes == 8); }

/// For the four high bits of a code, in one byte: the sign (bit 1), what the low bits are to be xored with
/// (from bit 2 up), and the other high bits, reversed if the sign is set.
template <int kLow>
struct HalfCodes {
  uint8_t values[16];
  constexpr HalfCodes() : values{} {
    for (int high = 0; high < 16; ++high) {
      const int sign = high / 8, flips = sign != 0 ? (8 << kLow) - 1 : 0;
      values[high] = static_cast<uint8_t>((((high % 8) << kLow) ^ flips) << 2 | sign << 1);
    }
  }
};
template <int kLow>
inline constexpr HalfCodes<kLow> kHalfCodes;

/// values[b & 15] for each byte b of `index`, which must be below 128.
METALHEAD_INLINE I32 lookup_bytes(const uint8_t (&values)[16], I32 index) {
  const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values));
#ifdef __AVX512F__
  return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), index.v)};
#else
  return {_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), index.v)};
#endif
}

#ifndef __AVX512F__
/// Codes of 4 bits as positions in the lower half of their codebook, with the sign one bit above.
template <int kParts, class Rows>
struct CodeFields<4, kParts, Rows> {
  using Table = LevelTable<4>;
  I32 codes;

  METALHEAD_INLINE void load(Rows packed, int /*dim*/, int first, int half = 0) {
    const I32 read = load_fields<4 * kParts>(packed + (first + half * kLanes * kParts / 2) / 2);
    const I32 signs = read & splat(repeated(8, 4));
    codes = read ^ (signs - shift_right<3>(signs));
  }
  template <int kPart>
  METALHEAD_INLINE F32 level(const Table& table) const {
    const I32 sign = shift_left<28 - 4 * kPart>(codes) & splat(INT32_MIN);
    return as_float(as_int(table.of_lower_half(shift_right<4 * kPart>(codes))) ^ sign);
  }
};
#endif

/// Codes of 5 or 6 bits as positions in the lower half of their codebook, with a sign one bit below.
template <int kBits, int kParts, class Rows>
  requires(uses_lower_half(kBits))
struct CodeFields<kBits, kParts, Rows> {
  using Table = LevelTable<kBits>;
  static constexpr int kLow = plane_widths(kBits).low;
  I32 even, odd;

  METALHEAD_INLINE void load(Rows packed, int dim, int first, int half = 0) {
    first += half * kLanes * kParts / 2;
    const I32 high = load_fields<4 * kParts>(packed + first / 2);
    const I32 low = load_spread<kLow, 8, kParts>(packed + (dim / 2 + first * kLow / 8));
    const I32 mask = splat(repeated(((1u << kLow) - 1u) << 2, 8)), nibbles = splat(repeated(15, 8));
    even = lookup_bytes(kHalfCodes<kLow>.values, high & nibbles) ^ (shift_left<2>(low) & mask);
    odd = lookup_bytes(kHalfCodes<kLow>.values, shift_right<4>(high) & nibbles) ^
          (shift_left<2 - kLow>(low) & mask);
  }

  template <int kPart>
  METALHEAD_INLINE F32 level(const Table& table) const {
    constexpr int kShift = kPart / 2 * 8 + 2;
    const I32 codes = kPart % 2 == 0 ? even : odd;
#ifdef __AVX512F__
    const I32 turned = {_mm512_ror_epi32(codes.v, kShift)};
    const I32 level = as_int(table.of_lower_half(turned));
    return as_float({_mm512_ternarylogic_epi32(level.v, turned.v, _mm512_set1_epi32(INT32_MIN), 0x78)});
#else
    const I32 sign = shift_left<32 - kShift>(codes) & splat(INT32_MIN);
    return as_float(as_int(table.of_lower_half(shift_right<kShift>(codes))) ^ sign);
#endif
  }
};
#else
constexpr bool uses_lower_half(int /*bits*/) { return false; }
#endif

/// Both planes of kLanes * kParts neighbouring coordinates, joined.
template <int kBits, int kParts, class Rows>
  requires(plane_widths(kBits).low > 0 && !uses_lower_half(kBits))
struct CodeFields<kBits, kParts, Rows> {
  using Table = LevelTable<kBits>;
  static constexpr int kHigh = plane_widths(kBits).high, kLow = plane_widths(kBits).low;
  static constexpr int kSpan = 2 * kHigh;
  I32 even, odd;

  METALHEAD_INLINE void load(Rows packed, int dim, int first, int half = 0) {
    first += half * kLanes * kParts / 2;
    const I32 high = load_fields<kHigh * kParts>(packed + first * kHigh / 8);
    const I32 low = load_spread<kLow, kSpan, kParts>(packed + (dim * kHigh / 8 + first * kLow / 8));
    constexpr uint32_t kMask = (1u << kHigh) - 1u;
    even = select_bits(repeated(kMask << kLow, kSpan), shift_left<kLow>(high), low);
    odd = select_bits(repeated(kMask << kHigh, kSpan), high, shift_left<kHigh - 2 * kLow>(low));
  }

  template <int kPart>
  METALHEAD_INLINE F32 level(const Table& table) const {
    if constexpr (kPart % 2 == 0) return table.of_low_bits(shift_right<kPart / 2 * kSpan>(even));
    return table.of_low_bits(shift_right<kPart / 2 * kSpan + kHigh - kLow>(odd));
  }
};

/// One packed vector to float32 levels `[dim]` in the order of fields.
template <int kBits, int kParts>
METALHEAD_INLINE void expand_fields(const typename CodeFields<kBits, kParts>::Table& table,
                                    const uint8_t* packed, int dim, float* values) {
  for (int first = 0; first < dim; first += kLanes * kParts) {
    CodeFields<kBits, kParts> fields;
    fields.load(packed, dim, first);
    for_each_part<0, 1, kParts>([&]<int kPart>() __attribute__((always_inline)) {
      store(values + first + kPart * kLanes, fields.template level<kPart>(table));
    });
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
