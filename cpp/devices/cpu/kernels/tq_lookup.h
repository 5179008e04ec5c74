// Lookups by more bits than one table takes, where blending tables is cheap.
#pragma once

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

#if defined(__AVX512F__)
/// `set` in the lanes of `code` whose bit kBit is set, `clear` in the others.
template <int kBit>
METALHEAD_INLINE F32 select_bit(I32 code, F32 set, F32 clear) {
  return {_mm512_mask_mov_ps(clear.v, _mm512_test_epi32_mask(code.v, _mm512_set1_epi32(1 << kBit)), set.v)};
}
/// Values of two tables by the five low bits of each lane.
METALHEAD_INLINE F32 lookup_32(const Table16* tables, I32 index) {
  return {_mm512_permutex2var_ps(tables[0].values, index.v, tables[1].values)};
}
#elif defined(__AVX2__)
template <int kBit>
METALHEAD_INLINE F32 select_bit(I32 code, F32 set, F32 clear) {
  return {_mm256_blendv_ps(clear.v, set.v, as_float(shift_left<31 - kBit>(code)).v)};
}
METALHEAD_INLINE F32 lookup_32(const Table16* tables, I32 index) {
  return select_bit<4>(index, lookup(tables[1], index), lookup(tables[0], index));
}
/// The first eight values of a table by the three low bits of each lane.
METALHEAD_INLINE F32 lookup_8(const Table16& table, I32 index) {
  return {_mm256_permutevar8x32_ps(table.low, index.v)};
}
#endif

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
