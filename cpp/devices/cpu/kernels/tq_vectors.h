// How the codec's kernels walk over their vectors, addressed as [outer, middle, rows].
#pragma once

#include <algorithm>
#include <cstdint>

#include "devices/cpu/kernels/attention_view.h"
#include "devices/cpu/kernels/simd.h"
#include "metal/params/codec_params.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

#define METALHEAD_LAMBDA_INLINE __attribute__((always_inline))

/// Rows of one threadgroup of `tq_encode`, `tq_decode` and `hadamard`; the grid is (ceil(rows / 64), middle,
/// outer).
constexpr int64_t kCodecRowsPerGroup = 64;

METALHEAD_INLINE int64_t offset_of(const metalhead_long (&strides)[3], int64_t outer, int64_t middle,
                                   int64_t row) {
  return outer * strides[0] + middle * strides[1] + row * strides[2];
}

/// Calls `visit(outer, middle, row)` for every vector of the threadgroups [begin, end).
template <class Visit>
METALHEAD_INLINE void for_each_vector(const Launch& launch, const CodecParams& p, uint64_t begin,
                                      uint64_t end, const Visit& visit) {
  for (uint64_t group = begin; group < end; ++group) {
    const int64_t x = static_cast<int64_t>(group % launch.grid.x);
    const int64_t middle = static_cast<int64_t>(group / launch.grid.x % launch.grid.y);
    const int64_t outer = static_cast<int64_t>(group / launch.grid.x / launch.grid.y);
    const int64_t first = x * kCodecRowsPerGroup;
    const int64_t last = first + kCodecRowsPerGroup < p.rows ? first + kCodecRowsPerGroup : p.rows;
    for (int64_t row = first; row < last; ++row) visit(outer, middle, row);
  }
}

/// Calls `use` with a pointer to the storage type of `dtype`, `offset` elements into `base`.
template <class Use>
METALHEAD_INLINE auto with_storage(DType dtype, const void* base, int64_t offset, const Use& use) {
  if (dtype == DType::kFloat16) return use(static_cast<const Float16*>(base) + offset);
  if (dtype == DType::kBFloat16) return use(static_cast<const BFloat16*>(base) + offset);
  return use(static_cast<const float*>(base) + offset);
}

/// The same for memory that is written.
template <class Use>
METALHEAD_INLINE auto with_storage(DType dtype, void* base, int64_t offset, const Use& use) {
  if (dtype == DType::kFloat16) return use(static_cast<Float16*>(base) + offset);
  if (dtype == DType::kBFloat16) return use(static_cast<BFloat16*>(base) + offset);
  return use(static_cast<float*>(base) + offset);
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
