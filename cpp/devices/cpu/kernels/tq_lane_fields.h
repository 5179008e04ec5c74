// Fields of a few bits of packed rows, one in each lane.
#pragma once

#include <cstdint>

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// kLanes fields of kFieldBits neighbouring bits, the first in lane 0. Fields of less than 4 bits are for 8
/// lanes and more, and may have bits above them set.
template <int kFieldBits>
METALHEAD_INLINE I32 load_fields(const uint8_t* p) {
  static_assert(kFieldBits == 1 || kFieldBits == 2 || kFieldBits == 4 || kFieldBits == 8 ||
                kFieldBits == 16 || kFieldBits == 32);
  if constexpr (kFieldBits == 32) return load(reinterpret_cast<const int32_t*>(p));
  if constexpr (kFieldBits == 8) return load_bytes(p);
  if constexpr (kFieldBits == 4) return load_nibbles(p);
#if defined(__AVX512F__)
  if constexpr (kFieldBits == 16)
    return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  if constexpr (kFieldBits <= 2) {
    int32_t all = 0;
    __builtin_memcpy(&all, p, 2 * kFieldBits);
    return {_mm512_srlv_epi32(_mm512_set1_epi32(all), _mm512_slli_epi32(iota().v, kFieldBits - 1))};
  }
#elif defined(__AVX2__)
  if constexpr (kFieldBits == 16)
    return {_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  if constexpr (kFieldBits <= 2) {
    int32_t all = 0;
    __builtin_memcpy(&all, p, kFieldBits);
    return {_mm256_srlv_epi32(_mm256_set1_epi32(all), _mm256_slli_epi32(iota().v, kFieldBits - 1))};
  }
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

/// kLanes fields of 16 bits whose second byte is moved up by 8 bits.
METALHEAD_INLINE I32 load_split_fields(const uint8_t* p) {
#if defined(__AVX512F__)
  return {_mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
#elif defined(__AVX2__)
  return {_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
#elif defined(__SSE4_2__)
  return {_mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
#else
  return {vreinterpretq_s32_u16(vmovl_u8(vld1_u8(p)))};
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

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
