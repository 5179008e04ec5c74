// Turns packed codes of one vector into their levels.
#pragma once

#include <cstdint>

#include "devices/cpu/kernels/simd.h"
#include "devices/cpu/kernels/tq_lane_fields.h"
#include "devices/cpu/kernels/tq_lookup.h"
#include "devices/cpu/kernels/tq_planes.h"
#include "devices/cpu/kernels/tq_rotation.h"
#include "metal/common/codebooks.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// The codebook of 2 to 6 bits.
template <int kBits>
constexpr const float* codebook_levels() {
  if constexpr (kBits == 2) return kLevels2;
  if constexpr (kBits == 3) return kLevels3;
  if constexpr (kBits == 4) return kLevels4;
  if constexpr (kBits == 5) return kLevels5;
  if constexpr (kBits == 6) return kLevels6;
  return nullptr;
}

/// Sixteens of levels, repeated where a codebook has fewer: memory that the tables may point to.
template <int kBits>
struct PaddedLevels {
  static constexpr int kTables = kBits <= 4 ? 1 : kBits == 8 ? 0 : 1 << (kBits - 4);
  float values[kTables > 0 ? 16 * kTables : 1];
  constexpr PaddedLevels() : values{} {
    for (int i = 0; i < 16 * kTables; ++i) values[i] = codebook_levels<kBits>()[i & ((1 << kBits) - 1)];
  }
};
template <int kBits>
inline constexpr PaddedLevels<kBits> kPaddedLevels;

/// Codes of their fields in two planes; both may have bits above them set, and so may the codes.
template <int kBits>
METALHEAD_INLINE I32 join_planes(I32 high, I32 low) {
  constexpr PlaneWidths kWidths = plane_widths(kBits);
  constexpr int32_t kMask = ((1 << kWidths.high) - 1) << kWidths.low;
  return select_bits(kMask, shift_left<kWidths.low>(high), low);
}

/// The codes of coordinates [first, first + kLanes) of a packed vector; bits above them may be set. Other
/// widths than 4 and 8 are for 8 lanes and more.
template <int kBits>
METALHEAD_INLINE I32 codes_of(const uint8_t* packed, int dim, int first) {
  constexpr PlaneWidths kWidths = plane_widths(kBits);
  const I32 high = load_fields<kWidths.high>(packed + first * kWidths.high / 8);
  if constexpr (kWidths.low == 0) {
    return high;
  } else {
    return join_planes<kBits>(
        high, load_fields<kWidths.low>(packed + dim * kWidths.high / 8 + first * kWidths.low / 8));
  }
}

/// Levels by code, in registers as far as they fit.
template <int kBits>
struct LevelTable {
  static constexpr int kTables = PaddedLevels<kBits>::kTables;
  Table16 tables[kTables > 0 ? kTables : 1];

  METALHEAD_INLINE LevelTable() : LevelTable(kPaddedLevels<kBits>.values) {}

  /// Of 4 bytes for each code, whatever they are.
  template <class Entry>
  METALHEAD_INLINE explicit LevelTable(const Entry* entries) {
    for (int i = 0; i < kTables; ++i) {
      tables[i] = load_table16(reinterpret_cast<const float*>(entries) + 16 * i);
    }
  }

  /// The levels of kLanes codes.
  METALHEAD_INLINE F32 operator()(I32 code) const {
    if constexpr (kBits == 8) return to_float(code - splat(int32_t{128}));
    if constexpr (kBits <= 4) return lookup(tables[0], code);
#if defined(__AVX2__)
    const F32 low = lookup_32(tables, code);
    if constexpr (kBits == 5) return low;
    return select_bit<5>(code, lookup_32(tables + kTables - 2, code), low);
#else
    const F32 position = to_float(code);
    const I32 within = code & splat(int32_t{15});
    F32 level = lookup(tables[0], within);
    for (int i = 1; i < kTables; ++i) {
      level =
          select_less(position, splat(static_cast<float>(16 * i) - 0.5f), level, lookup(tables[i], within));
    }
    return level;
#endif
  }

  /// The same where bits above the code may be set.
  METALHEAD_INLINE F32 of_low_bits(I32 code) const {
    // Wide lookups ignore those bits, and small codebooks repeat in their table.
    constexpr bool kIgnored = kLanes >= 8 || kBits == 8;
    if constexpr (kIgnored) return (*this)(code);
    return (*this)(code & splat(int32_t{(1 << kBits) - 1}));
  }

#ifdef __AVX2__
  /// The levels of codes in the lower half of a codebook of more than 3 bits; bits above them may be set.
  METALHEAD_INLINE F32 of_lower_half(I32 code) const {
#ifndef __AVX512F__
    if constexpr (kBits == 4) return lookup_8(tables[0], code);
#endif
    if constexpr (kBits == 5) return lookup(tables[0], code);
    return lookup_32(tables, code);
  }
#endif

  /// One packed vector to float32 levels `[dim]`.
  METALHEAD_INLINE void expand(const uint8_t* packed, int dim, float* values) const {
    if constexpr (kLanes < 8 && kBits != 4 && kBits != 8) {
      uint8_t codes[kMaxRotatedDim];
      unpack_codes<kBits>(packed, dim, codes);
      for (int j = 0; j < dim; j += kLanes) store(values + j, (*this)(load_bytes(codes + j)));
    } else {
      for (int j = 0; j < dim; j += kLanes) store(values + j, of_low_bits(codes_of<kBits>(packed, dim, j)));
    }
  }
};

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
