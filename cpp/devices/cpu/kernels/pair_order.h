// The order in which bfloat16 widens most cheaply: the values at even places, then those at odd places. Query
// rows and sums that meet it keep that order in every whole pair of vectors.
#pragma once

#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// True for types whose values are taken in that order.
template <class T>
inline constexpr bool kSplitsPairs = false;
template <>
inline constexpr bool kSplitsPairs<BFloat16> = true;

/// Vector `half` (0 or 1) of the 2 * kLanes values at p, in the order that belongs to the type.
template <class T>
METALHEAD_INLINE F32 load_half(const T* p, int half) {
  if constexpr (kSplitsPairs<T>) {
    return half == 0 ? load_even(p) : load_odd(p);
  } else {
    return load(p + half * kLanes);
  }
}

/// Brings the whole pairs of vectors of a row of floats into split order, or back.
METALHEAD_INLINE void split_pairs(float* row, int64_t count) {
  for (int64_t i = 0; i + 2 * kLanes <= count; i += 2 * kLanes) {
    float copy[2 * kLanes];
    __builtin_memcpy(copy, row + i, sizeof(copy));
    for (int l = 0; l < kLanes; ++l) {
      row[i + l] = copy[2 * l];
      row[i + kLanes + l] = copy[2 * l + 1];
    }
  }
}
METALHEAD_INLINE void join_pairs(float* row, int64_t count) {
  for (int64_t i = 0; i + 2 * kLanes <= count; i += 2 * kLanes) {
    float copy[2 * kLanes];
    __builtin_memcpy(copy, row + i, sizeof(copy));
    for (int l = 0; l < kLanes; ++l) {
      row[i + 2 * l] = copy[l];
      row[i + 2 * l + 1] = copy[kLanes + l];
    }
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
