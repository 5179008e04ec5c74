// Packs the codes of one vector into planes of 8, 4, 2 and 1 bits, and takes them apart again.
#pragma once

#include <cstdint>
#include <cstring>

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Widths of the two planes of a code, the high bits first; the second is 0 where one plane holds all.
struct PlaneWidths {
  int high, low;
};
constexpr PlaneWidths plane_widths(int bits) {
  return bits == 3   ? PlaneWidths{2, 1}
         : bits == 5 ? PlaneWidths{4, 1}
         : bits == 6 ? PlaneWidths{4, 2}
                     : PlaneWidths{bits, 0};
}

/// Calls `use.template operator()<bits>()` and returns what it does.
template <class Use>
METALHEAD_INLINE auto with_bits(int bits, const Use& use) {
  switch (bits) {
    case 2:
      return use.template operator()<2>();
    case 3:
      return use.template operator()<3>();
    case 4:
      return use.template operator()<4>();
    case 5:
      return use.template operator()<5>();
    case 6:
      return use.template operator()<6>();
    default:
      return use.template operator()<8>();
  }
}

/// Bytes of one packed vector.
constexpr int packed_bytes(int bits, int dim) { return dim * bits / 8; }

/// Eight codes of `kWidth` bits, one a byte, to `kWidth` bytes in the low end of the result.
template <int kWidth>
METALHEAD_INLINE uint64_t gather_bits(uint64_t x) {
#ifdef __BMI2__
  return _pext_u64(x, 0x0101010101010101u * ((1u << kWidth) - 1u));
#endif
  if constexpr (kWidth == 1) {
    x = (x | x >> 7) & 0x0003000300030003u;
    x = (x | x >> 14) & 0x0000000f0000000fu;
    return (x | x >> 28) & 0xffu;
  } else if constexpr (kWidth == 2) {
    x = (x | x >> 6) & 0x000f000f000f000fu;
    x = (x | x >> 12) & 0x000000ff000000ffu;
    return (x | x >> 24) & 0xffffu;
  } else if constexpr (kWidth == 4) {
    x = (x | x >> 4) & 0x00ff00ff00ff00ffu;
    x = (x | x >> 8) & 0x0000ffff0000ffffu;
    return (x | x >> 16) & 0xffffffffu;
  } else {
    return x;
  }
}

/// The inverse of `gather_bits`.
template <int kWidth>
METALHEAD_INLINE uint64_t scatter_bits(uint64_t x) {
  if constexpr (kWidth == 1) {
    x = (x | x << 28) & 0x0000000f0000000fu;
    x = (x | x << 14) & 0x0003000300030003u;
    return (x | x << 7) & 0x0101010101010101u;
  } else if constexpr (kWidth == 2) {
    x = (x | x << 24) & 0x000000ff000000ffu;
    x = (x | x << 12) & 0x000f000f000f000fu;
    return (x | x << 6) & 0x0303030303030303u;
  } else if constexpr (kWidth == 4) {
    x = (x | x << 16) & 0x0000ffff0000ffffu;
    x = (x | x << 8) & 0x00ff00ff00ff00ffu;
    return (x | x << 4) & 0x0f0f0f0f0f0f0f0fu;
  } else {
    return x;
  }
}

/// The `kWidth` bits from `kShift` up of every code, as one plane of dim * kWidth / 8 bytes.
template <int kWidth, int kShift>
METALHEAD_INLINE void pack_plane(const uint8_t* codes, int dim, uint8_t* plane) {
  constexpr uint64_t kMask = 0x0101010101010101u * ((1u << kWidth) - 1u);
  for (int j = 0; j < dim; j += 8) {
    uint64_t x;
    std::memcpy(&x, codes + j, 8);
    x = gather_bits<kWidth>(x >> kShift & kMask);
    std::memcpy(plane + j / 8 * kWidth, &x, kWidth);
  }
}

/// Adds one plane to the codes: `codes` is shifted left by `kWidth` first, or overwritten if `kFirst`.
template <int kWidth, bool kFirst>
METALHEAD_INLINE void unpack_plane(const uint8_t* plane, int dim, uint8_t* codes) {
  for (int j = 0; j < dim; j += 8) {
    uint64_t x = 0, before = 0;
    std::memcpy(&x, plane + j / 8 * kWidth, kWidth);
    x = scatter_bits<kWidth>(x);
    if constexpr (!kFirst) {
      std::memcpy(&before, codes + j, 8);
      x |= before << kWidth;
    }
    std::memcpy(codes + j, &x, 8);
  }
}

/// Codes `[dim]`, one a byte, to the packed form.
template <int kBits>
METALHEAD_INLINE void pack_codes(const uint8_t* codes, int dim, uint8_t* packed) {
  constexpr PlaneWidths kWidths = plane_widths(kBits);
  pack_plane<kWidths.high, kWidths.low>(codes, dim, packed);
  if constexpr (kWidths.low > 0) pack_plane<kWidths.low, 0>(codes, dim, packed + dim * kWidths.high / 8);
}

/// The packed form to codes `[dim]`, one a byte.
template <int kBits>
METALHEAD_INLINE void unpack_codes(const uint8_t* packed, int dim, uint8_t* codes) {
  constexpr PlaneWidths kWidths = plane_widths(kBits);
  unpack_plane<kWidths.high, true>(packed, dim, codes);
  if constexpr (kWidths.low > 0)
    unpack_plane<kWidths.low, false>(packed + dim * kWidths.high / 8, dim, codes);
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
