// Packed codes in registers: each lane holds a field with the codes of a few neighbouring coordinates, which
// are peeled off one by one and looked up.
//
// This way codes become levels with a shift and a lookup, and no shuffle: the price is a fixed order of
// coordinates, which costs nothing where the other factor of a product is brought into the same order once.
#pragma once

#include <cstdint>

#include "devices/cpu/kernels/gemm_tile.h"
#include "devices/cpu/kernels/tq_levels.h"
#include "devices/cpu/kernels/tq_planes.h"
#include "devices/cpu/kernels/tq_row_pair.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Codes of one vector that share a lane; `dim` is a power of two from 32 to 512.
constexpr int codes_per_lane(int dim) { return dim / kLanes < 8 ? dim / kLanes : 8; }

/// `parts` if some dim has so many codes in a lane, else one that does: for switches over all cases.
constexpr int possible_parts(int parts) {
  const int least = codes_per_lane(32);
  return parts < least ? least : parts;
}

/// Calls `use(position, coordinate)` for every coordinate and the position at which it stands in a row that
/// is expanded in the order of fields.
template <class Use>
METALHEAD_INLINE void for_each_field(int bits, int dim, const Use& use) {
  const int parts = bits == 8 ? 1 : codes_per_lane(dim);
  for (int block = 0; block < dim; block += parts * kLanes) {
    for (int part = 0; part < parts; ++part) {
      for (int lane = 0; lane < kLanes; ++lane)
        use(block + part * kLanes + lane, block + lane * parts + part);
    }
  }
}

/// Fields of kLanes * kParts neighbouring coordinates, and how far they have been peeled. `Rows` is a pointer
/// to the codes of one row, or RowPair.
template <int kBits, int kParts, class Rows = const uint8_t*>
struct CodeFields {
  static constexpr int kHigh = plane_widths(kBits).high, kLow = plane_widths(kBits).low;
  static constexpr int kCoordinates = kLanes * kParts;
  I32 high, low;

  /// Takes coordinates [first, first + kCoordinates) of a packed vector; of a pair of vectors half `half` of
  /// them.
  METALHEAD_INLINE void load(Rows packed, int dim, int first, int half = 0) {
    first += half * kCoordinates / 2;
    high = load_fields<kHigh * kParts>(packed + first * kHigh / 8);
    if constexpr (kLow > 0) low = load_fields<kLow * kParts>(packed + (dim * kHigh / 8 + first * kLow / 8));
  }

  /// Drops the first kCount codes of each lane.
  template <int kCount>
  METALHEAD_INLINE void skip() {
    if constexpr (kCount == 0) return;
    high = shift_right<kHigh * kCount>(high);
    if constexpr (kLow > 0) low = shift_right<kLow * kCount>(low);
  }

  /// The code at the low end of each lane; bits above the code are left as they come.
  METALHEAD_INLINE I32 code() const {
    if constexpr (kLow == 0) return high;
    constexpr int32_t kMask = ((1 << kHigh) - 1) << kLow;
    return select_bits(kMask, shift_left<kLow>(high), low);
  }
};

/// Codes of whole bytes need no peeling: one after the other is loaded, in natural order.
template <int kParts, class Rows>
struct CodeFields<8, kParts, Rows> {
  static constexpr int kCoordinates = kLanes * kParts;
  Rows bytes;

  METALHEAD_INLINE void load(Rows packed, int /*dim*/, int first, int half = 0) {
    bytes = packed + (first + half * kLanes / 2);
  }
  template <int kCount>
  METALHEAD_INLINE void skip() {
    bytes = bytes + kCount * kLanes;
  }
  METALHEAD_INLINE I32 code() const { return load_bytes(bytes); }
};

/// One packed vector to float32 levels `[dim]` in the order of fields.
template <int kBits, int kParts>
METALHEAD_INLINE void expand_fields(const LevelTable<kBits>& table, const uint8_t* packed, int dim,
                                    float* values) {
  using Fields = CodeFields<kBits, kParts>;
  for (int first = 0; first < dim; first += Fields::kCoordinates) {
    Fields fields;
    fields.load(packed, dim, first);
    METALHEAD_UNROLL
    for (int part = 0; part < kParts; ++part) {
      store(values + first + part * kLanes, table.of_low_bits(fields.code()));
      fields.template skip<1>();
    }
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
