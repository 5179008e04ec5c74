// Two packed rows beside each other in one vector, half of its lanes each: their sums over lanes cost half as
// much as those of two vectors.
#pragma once

#include <cstdint>

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Rows of codes that share a vector: two on AVX-512, whose vectors take the longest to sum up.
constexpr int kRowsOfVector = kLanes == 16 ? 2 : 1;

/// Bytes of two packed rows at the same place.
struct RowPair {
  const uint8_t *low, *high;

  METALHEAD_INLINE RowPair operator+(int64_t bytes) const { return {low + bytes, high + bytes}; }
};

#if defined(__AVX512F__)

template <int kBytes>
METALHEAD_INLINE __m128i load_halves(RowPair rows) {
  uint64_t low = 0, high = 0;
  __builtin_memcpy(&low, rows.low, kBytes);
  __builtin_memcpy(&high, rows.high, kBytes);
  if constexpr (kBytes < 8) return _mm_cvtsi64_si128(static_cast<int64_t>(low | high << (8 * kBytes)));
  return _mm_insert_epi64(_mm_cvtsi64_si128(static_cast<int64_t>(low)), static_cast<int64_t>(high), 1);
}

/// Fields of kFieldBits neighbouring bits: kLanes / 2 of each row.
template <int kFieldBits>
METALHEAD_INLINE I32 load_fields(RowPair rows) {
  if constexpr (kFieldBits == 32) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows.low));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows.high));
    return {_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1)};
  }
  if constexpr (kFieldBits == 16) {
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.low));
    const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.high));
    return {_mm512_cvtepu16_epi32(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1))};
  }
  if constexpr (kFieldBits == 8) return {_mm512_cvtepu8_epi32(load_halves<8>(rows))};
  if constexpr (kFieldBits == 4) {
    const __m128i bytes = load_halves<4>(rows);
    const __m512i wide = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(bytes, _mm_srli_epi16(bytes, 4)));
    return {_mm512_and_si512(wide, _mm512_set1_epi32(15))};
  }
  if constexpr (kFieldBits == 2) {
    const __m512i all = _mm512_broadcastd_epi32(load_halves<2>(rows));
    return {_mm512_srlv_epi32(all, _mm512_slli_epi32(iota().v, 1))};
  }
}

METALHEAD_INLINE I32 load_bytes(RowPair rows) { return load_fields<8>(rows); }

/// Fields of 16 bits whose second byte is moved up by 8 bits.
METALHEAD_INLINE I32 load_split_fields(RowPair rows) {
  const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.low));
  const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.high));
  return {_mm512_cvtepu8_epi16(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1))};
}

/// For every four vectors v[4i .. 4i + 3]: the sums of their low halves, then those of their high halves.
METALHEAD_INLINE void reduce_add_halves(const F32 (&v)[kLanes], F32 (&sums)[2]) {
  __m512 quads[4];
  add_quads(v, quads);
  for (int i = 0; i < 2; ++i) {
    const __m512 even = _mm512_shuffle_f32x4(quads[2 * i], quads[2 * i + 1], 0x88);
    sums[i].v = _mm512_add_ps(even, _mm512_shuffle_f32x4(quads[2 * i], quads[2 * i + 1], 0xdd));
  }
}

/// The rows of codes that share a vector.
using CodeRows = RowPair;
METALHEAD_INLINE CodeRows code_rows(const uint8_t* first, const uint8_t* second) { return {first, second}; }

/// Each half of a vector of a row [dim] becomes a whole one, to meet both rows: the row takes twice the room.
/// Some processors repeat halves as they load them, others not without a shuffle.
METALHEAD_INLINE void repeat_halves(float* row, int dim) {
  for (int i = dim - kLanes; i >= 0; i -= kLanes) {
    const __m512 x = load(row + i).v;
    store(row + 2 * i, {_mm512_shuffle_f32x4(x, x, 0x44)});
    store(row + 2 * i + kLanes, {_mm512_shuffle_f32x4(x, x, 0xee)});
  }
}

#else

using CodeRows = const uint8_t*;
METALHEAD_INLINE CodeRows code_rows(const uint8_t* first, const uint8_t* /*second*/) { return first; }
METALHEAD_INLINE void repeat_halves(float* /*row*/, int /*dim*/) {}

#endif

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
