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

/// kLanes fields of kFieldBits neighbouring bits, the first in lane 0.
template <int kFieldBits>
METALHEAD_INLINE I32 load_fields(const uint8_t* p) {
  static_assert(kFieldBits == 2 || kFieldBits == 4 || kFieldBits == 8 || kFieldBits == 16 ||
                kFieldBits == 32);
  if constexpr (kFieldBits == 32) return load(reinterpret_cast<const int32_t*>(p));
  if constexpr (kFieldBits == 8) return load_bytes(p);
  if constexpr (kFieldBits == 4) return load_nibbles(p);
#if defined(__AVX512F__)
  if constexpr (kFieldBits == 16)
    return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  if constexpr (kFieldBits == 2) {
    int32_t all;
    __builtin_memcpy(&all, p, 4);
    return {_mm512_srlv_epi32(_mm512_set1_epi32(all), _mm512_slli_epi32(iota().v, 1))};
  }
#elif defined(__AVX2__)
  if constexpr (kFieldBits == 16)
    return {_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
#elif defined(__SSE4_2__)
  if constexpr (kFieldBits == 16)
    return {_mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
#else
  if constexpr (kFieldBits == 16) {
    uint16x4_t words;
    __builtin_memcpy(&words, p, 8);
    return {vreinterpretq_s32_u32(vmovl_u16(words))};
  }
#endif
}

/// The bits of `a` where the mask is set, those of `b` elsewhere.
METALHEAD_INLINE I32 select_bits(int32_t mask, I32 a, I32 b) {
#if defined(__AVX512F__)
  return {_mm512_ternarylogic_epi32(_mm512_set1_epi32(mask), a.v, b.v, 0xca)};
#else
  return ((a ^ b) & splat(mask)) ^ b;
#endif
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
