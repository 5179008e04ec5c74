// The planes of packed TurboQuant codes: a code's high bits lie in one plane, what is left of it in a second
// one.
#pragma once

#include "common/arithmetic.h"

/// Bits of a code in the first plane.
METAL_FUNC uint high_width(uint bits) { return bits == 3 ? 2 : bits == 5 || bits == 6 ? 4 : bits; }

/// Bits of a code in the second plane; 0 where one plane holds all.
METAL_FUNC uint low_width(uint bits) { return bits - high_width(bits); }

/// Bits [j * width, (j + 1) * width) of a plane: those of coordinate j.
METAL_FUNC uint plane_bits(device const uchar* plane, int j, uint width) {
  const uint bit = uint(j) * width;
  return (uint(plane[bit / 8]) >> (bit % 8)) & ((1u << width) - 1u);
}

/// The code of coordinate j of one packed vector.
METAL_FUNC uint packed_code(device const uchar* packed, int j, int dim, uint bits) {
  const uint high = high_width(bits), low = low_width(bits);
  const uint code = plane_bits(packed, j, high);
  return low == 0 ? code : (code << low) | plane_bits(packed + uint(dim) * high / 8, j, low);
}

/// Packs `width` bits of the codes of 32 neighbouring coordinates, one a lane, to 4 * width bytes.
METAL_FUNC void pack_lanes(device uchar* to, uint code_bits, uint width, uint lane) {
  if (width == 8) {
    to[lane] = uchar(code_bits);
    return;
  }
  const uint codes = 32 / width;  // of a word, from as many neighbouring lanes
  uint word = code_bits << (width * (lane % codes));
  for (ushort distance = 1; distance < codes; distance *= 2) word |= simd_shuffle_xor(word, distance);
  const uint byte_index = lane % codes;
  if (byte_index < 4) to[4 * (lane / codes) + byte_index] = uchar(word >> (8 * byte_index));
}
