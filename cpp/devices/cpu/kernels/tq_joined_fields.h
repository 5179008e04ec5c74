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
/// set at random.
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

/// Both planes of kLanes * kParts neighbouring coordinates, joined.
template <int kBits, int kParts, class Rows>
  requires(plane_widths(kBits).low > 0)
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
