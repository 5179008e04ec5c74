// Sums and largest lanes of several vectors at once: of four, as few query rows need, or of kLanes.
#pragma once

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

#if defined(__AVX512F__)
/// Lane i of the result is what `join` makes of the lanes of v[i], for i < 4; lanes 4 and up repeat those.
template <class Join>
METALHEAD_INLINE F32 reduce_four(const F32 (&v)[4], const Join& join) {
  F32 pairs[2];
  for (int i = 0; i < 2; ++i) {
    const F32 low{_mm512_unpacklo_ps(v[2 * i].v, v[2 * i + 1].v)};
    pairs[i] = join(low, F32{_mm512_unpackhi_ps(v[2 * i].v, v[2 * i + 1].v)});
  }
  F32 x = join(F32{_mm512_shuffle_ps(pairs[0].v, pairs[1].v, 0x44)},
               F32{_mm512_shuffle_ps(pairs[0].v, pairs[1].v, 0xee)});
  x = join(x, F32{_mm512_shuffle_f32x4(x.v, x.v, 0x4e)});
  return join(x, F32{_mm512_shuffle_f32x4(x.v, x.v, 0xb1)});
}
#elif defined(__AVX2__)
template <class Join>
METALHEAD_INLINE F32 reduce_four(const F32 (&v)[4], const Join& join) {
  F32 pairs[2];
  for (int i = 0; i < 2; ++i) {
    const F32 low{_mm256_unpacklo_ps(v[2 * i].v, v[2 * i + 1].v)};
    pairs[i] = join(low, F32{_mm256_unpackhi_ps(v[2 * i].v, v[2 * i + 1].v)});
  }
  const F32 x = join(F32{_mm256_shuffle_ps(pairs[0].v, pairs[1].v, 0x44)},
                     F32{_mm256_shuffle_ps(pairs[0].v, pairs[1].v, 0xee)});
  return join(x, F32{_mm256_permute2f128_ps(x.v, x.v, 0x01)});
}
#endif

/// Lane i of the result is the largest lane of v[i], or their sum, for i < kRows: 4 or kLanes. v is
/// overwritten.
template <int kRows>
METALHEAD_INLINE F32 reduce_max_rows(F32 (&v)[kRows]) {
  if constexpr (kRows == kLanes) return reduce_max_each(v);
  if constexpr (kRows < kLanes) return reduce_four(v, [](F32 a, F32 b) { return max(a, b); });
}
template <int kRows>
METALHEAD_INLINE F32 reduce_add_rows(const F32 (&v)[kRows]) {
  if constexpr (kRows == kLanes) return reduce_add_each(v);
  if constexpr (kRows < kLanes) return reduce_four(v, [](F32 a, F32 b) { return a + b; });
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
