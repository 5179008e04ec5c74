// Packed codes of kLanes vectors side by side. Transposing them packed takes a fraction of what it takes to
// transpose levels.
#pragma once

#include <cstdint>

#include "devices/cpu/kernels/tq_fields.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Coordinates whose codes fill whole words of 32 bits in each plane.
constexpr int kWordCodes = 32;

/// The codes of kLanes packed vectors, one vector in each lane.
template <int kBits>
class TransposedCodes {
 public:
  /// Takes the vectors of `dim` coordinates at `rows`.
  METALHEAD_INLINE void take(const uint8_t* const (&rows)[kLanes], int dim) {
    const int words = dim / kWordCodes * kBits;
    low_plane_ = words_ + dim / kWordCodes * kWidths.high;
    for (int first = 0; first < words; first += kLanes) {
      const int count = words - first < kLanes ? words - first : kLanes;
      F32 block[kLanes];
      METALHEAD_UNROLL
      for (int i = 0; i < kLanes; ++i) block[i] = as_float(words_at(rows[i] + first * 4, count));
      transpose(block);
      METALHEAD_UNROLL
      for (int i = 0; i < kLanes; ++i) store(words_[first + i], as_int(block[i]));
    }
  }

  /// The codes of coordinate `group` * kWordCodes + kCoordinate; bits above them may be set.
  template <int kCoordinate>
  METALHEAD_INLINE I32 codes(int group) const {
    const I32 high = field<kWidths.high, kCoordinate>(words_ + group * kWidths.high);
    if constexpr (kBits == 8) {
      return high & splat(int32_t{255});
    } else if constexpr (kWidths.low == 0) {
      return high;
    } else {
      return join_planes<kBits>(high, field<kWidths.low, kCoordinate>(low_plane_ + group * kWidths.low));
    }
  }

 private:
  static constexpr PlaneWidths kWidths = plane_widths(kBits);
  using Word = int32_t[kLanes];

  /// `count` (1 to kLanes) words of memory without alignment.
  METALHEAD_INLINE static I32 words_at(const uint8_t* from, int count) {
    if (count == kLanes) return load_fields<32>(from);
    if constexpr (kLanes >= 8) return as_int(load_partial(reinterpret_cast<const float*>(from), count));
    int32_t words[kLanes] = {};
    for (int i = 0; i < count; ++i) __builtin_memcpy(words + i, from + 4 * i, 4);
    return load(words);
  }

  template <int kWidth, int kCoordinate>
  METALHEAD_INLINE static I32 field(const Word* words) {
    constexpr int kBit = kCoordinate * kWidth;
    return shift_right<kBit % 32>(load(words[kBit / 32]));
  }

  alignas(64) Word words_[kMaxRotatedDim / kWordCodes * kBits + kLanes];
  const Word* low_plane_ = words_;
};

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
