// Sums and largest lanes of several vectors at once: of four, as few query rows need, or of kLanes.
#pragma once

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

#ifdef __AVX2__
/// Lane i of the result is what `join` makes of the lanes of v[i], for i < 4; lanes 4 and up repeat those. v
/// is overwritten.
template <class Join>
METALHEAD_INLINE F32 reduce_four(F32 (&v)[4], const Join& join) {
  transpose_quads(v);
  F32 x = join(join(v[0], v[2]), join(v[1], v[3]));
  if constexpr (kLanes >= 16) x = join(x, exchange<8>(x));
  return join(x, exchange<4>(x));
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
METALHEAD_INLINE F32 reduce_add_rows(F32 (&v)[kRows]) {
  if constexpr (kRows == kLanes) return reduce_add_each(v);
  if constexpr (kRows < kLanes) return reduce_four(v, [](F32 a, F32 b) { return a + b; });
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
