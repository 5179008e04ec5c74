// How the codec's kernels walk over their vectors, addressed as [outer, middle, rows].
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/launch.h"
#include "devices/cpu/kernels/simd.h"
#include "metal/params/codec_params.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

#define METALHEAD_LAMBDA_INLINE __attribute__((always_inline))

/// Rows of one threadgroup of `tq_encode`, `tq_decode` and `hadamard`; the grid is (ceil(rows / 64), middle, outer).
constexpr int64_t kCodecRowsPerGroup = 64;

METALHEAD_INLINE int64_t offset_of(const metalhead_long (&strides)[3], int64_t outer, int64_t middle, int64_t row) {
  return outer * strides[0] + middle * strides[1] + row * strides[2];
}

/// Calls `visit(outer, middle, row)` for every vector of the threadgroups [begin, end).
template <class Visit>
METALHEAD_INLINE void for_each_vector(const Launch& launch, const CodecParams& p, uint64_t begin, uint64_t end,
                                      const Visit& visit) {
  for (uint64_t group = begin; group < end; ++group) {
    const int64_t x = static_cast<int64_t>(group % launch.grid.x);
    const int64_t middle = static_cast<int64_t>(group / launch.grid.x % launch.grid.y);
    const int64_t outer = static_cast<int64_t>(group / launch.grid.x / launch.grid.y);
    const int64_t first = x * kCodecRowsPerGroup;
    const int64_t last = first + kCodecRowsPerGroup < p.rows ? first + kCodecRowsPerGroup : p.rows;
    for (int64_t row = first; row < last; ++row) visit(outer, middle, row);
  }
}

/// True if the norm is finite in its storage type after rounding.
template <class Norm>
METALHEAD_INLINE bool norm_fits(float norm) {
  return sizeof(Norm) == 4 || norm < 65520.0f;
}

METALHEAD_INLINE void store_norm(float* to, float norm) { *to = norm; }
METALHEAD_INLINE void store_norm(Float16* to, float norm) { store_partial(to, splat(norm), 1); }

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
