// Packed codes in registers: each lane holds a field with the codes of a few neighbouring coordinates, which
// are looked up one by one.
//
// This way codes become levels with a shift and a lookup, and no shuffle: the price is a fixed order of
// coordinates, which costs nothing where the other factor of a product is brought into the same order once.
#pragma once

#include <cstdint>

#include "devices/cpu/kernels/gemm_tile.h"
#include "devices/cpu/kernels/tq_lane_fields.h"
#include "devices/cpu/kernels/tq_levels.h"
#include "devices/cpu/kernels/tq_row_pair.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Codes of one vector that share a lane; `dim` is a power of two from 32 to 512.
constexpr int codes_per_lane(int dim) { return dim / kLanes < 8 ? dim / kLanes : 8; }

/// `parts` if some dim has so many codes in a lane, else one that does: for switches over all cases.
constexpr int possible_parts(int parts) {
  const int least = codes_per_lane(32);
  return parts < least ? least : parts;
}

/// Calls `use.template operator()<codes_per_lane(dim)>()`.
template <class Use>
METALHEAD_INLINE void with_parts(int dim, const Use& use) {
  switch (codes_per_lane(dim)) {
    case 2:
      return use.template operator()<possible_parts(2)>();
    case 4:
      return use.template operator()<possible_parts(4)>();
    default:
      return use.template operator()<possible_parts(8)>();
  }
}

/// Calls `use.template operator()<part>()` for kCount parts: kFirst and every kStep-th after it.
template <int kFirst, int kStep, int kCount, class Use>
METALHEAD_INLINE void for_each_part(const Use& use) {
  if constexpr (kCount > 0) {
    use.template operator()<kFirst>();
    for_each_part<kFirst + kStep, kStep, kCount - 1>(use);
  }
}

/// Fields of kLanes * kParts neighbouring coordinates. `Rows` is a pointer to the codes of one row, or
/// RowPair.
template <int kBits, int kParts, class Rows = const uint8_t*>
struct CodeFields {
  using Table = LevelTable<kBits>;
  I32 codes;

  /// Takes coordinates [first, first + kLanes * kParts) of a packed vector; of a pair of vectors half `half`
  /// of them.
  METALHEAD_INLINE void load(Rows packed, int /*dim*/, int first, int half = 0) {
    codes = load_fields<kBits * kParts>(packed + (first + half * kLanes * kParts / 2) * kBits / 8);
  }

  /// The levels of code number kPart of each lane.
  template <int kPart>
  METALHEAD_INLINE F32 level(const Table& table) const {
    return table.of_low_bits(shift_right<kBits * kPart>(codes));
  }
};

#ifdef __AVX512F__
/// Levels of 2-bit codes by four bits of two codes: of the code in the low ones, and of that in the high
/// ones.
struct PairTable {
  Table16 first, second;

  METALHEAD_INLINE PairTable() {
    alignas(64) float repeated[16];
    for (int i = 0; i < 16; ++i) repeated[i] = kLevels2[i / 4];
    first = load_table16(kPaddedLevels<2>.values);
    second = load_table16(repeated);
  }
};

/// Two codes of 2 bits are looked up by the same index, which saves every other shift.
template <int kParts, class Rows>
struct CodeFields<2, kParts, Rows> {
  using Table = PairTable;
  I32 codes;

  METALHEAD_INLINE void load(Rows packed, int /*dim*/, int first, int half = 0) {
    codes = load_fields<2 * kParts>(packed + (first + half * kLanes * kParts / 2) / 4);
  }
  template <int kPart>
  METALHEAD_INLINE F32 level(const Table& table) const {
    return lookup(kPart % 2 == 0 ? table.first : table.second, shift_right<kPart / 2 * 4>(codes));
  }
};
#endif

/// Codes of whole bytes need no fields: they are loaded in natural order.
template <int kParts, class Rows>
struct CodeFields<8, kParts, Rows> {
  using Table = LevelTable<8>;
  Rows bytes;

  METALHEAD_INLINE void load(Rows packed, int /*dim*/, int first, int half = 0) {
    bytes = packed + (first + half * kLanes / 2);
  }
  template <int kPart>
  METALHEAD_INLINE F32 level(const Table& table) const {
    return table(load_bytes(bytes + kPart * kLanes));
  }
};

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
