// Rows of floats from the natural order of coordinates to that of fields (tq_fields.h) and back, in
// registers.
#pragma once

#include "devices/cpu/kernels/tq_fields.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// The bits of `i` below the bit `end` in reverse.
constexpr int reversed_bits(int i, int end) {
  int reversed = 0;
  for (int bit = 1; bit < end; bit *= 2) reversed = reversed * 2 + ((i & bit) != 0 ? 1 : 0);
  return reversed;
}

/// One block of fields: position part * kLanes + lane takes coordinate lane * kParts + part. Each stage sorts
/// by one bit of the part, the lowest first, so that vectors end up in the order of the parts' reversed bits.
template <int kParts>
METALHEAD_INLINE void block_to_fields(float* block) {
  F32 v[kParts], sorted[kParts];
  METALHEAD_UNROLL
  for (int i = 0; i < kParts; ++i) v[i] = load(block + i * kLanes);
  METALHEAD_UNROLL
  for (int size = kParts; size > 1; size /= 2) {
    METALHEAD_UNROLL
    for (int i = 0; i < kParts; i += 2) {
      const int to = i / size * size + i % size / 2;
      sorted[to] = v[i];
      sorted[to + size / 2] = v[i + 1];
      unzip(sorted[to], sorted[to + size / 2]);
    }
    METALHEAD_UNROLL
    for (int i = 0; i < kParts; ++i) v[i] = sorted[i];
  }
  METALHEAD_UNROLL
  for (int i = 0; i < kParts; ++i) store(block + reversed_bits(i, kParts) * kLanes, v[i]);
}

/// The inverse.
template <int kParts>
METALHEAD_INLINE void block_from_fields(float* block) {
  F32 v[kParts], joined[kParts];
  METALHEAD_UNROLL
  for (int i = 0; i < kParts; ++i) v[i] = load(block + reversed_bits(i, kParts) * kLanes);
  METALHEAD_UNROLL
  for (int size = 2; size <= kParts; size *= 2) {
    METALHEAD_UNROLL
    for (int i = 0; i < kParts; i += 2) {
      const int from = i / size * size + i % size / 2;
      joined[i] = v[from];
      joined[i + 1] = v[from + size / 2];
      zip(joined[i], joined[i + 1]);
    }
    METALHEAD_UNROLL
    for (int i = 0; i < kParts; ++i) v[i] = joined[i];
  }
  METALHEAD_UNROLL
  for (int i = 0; i < kParts; ++i) store(block + i * kLanes, v[i]);
}

/// A row [dim] in place to the order in which codes of `bits` are expanded. Codes of whole bytes keep theirs.
METALHEAD_INLINE void to_field_order(int bits, int dim, float* row) {
  if (bits == 8) return;
  with_parts(dim, [&]<int kParts>() {
    for (int block = 0; block < dim; block += kParts * kLanes) block_to_fields<kParts>(row + block);
  });
}

/// The inverse.
METALHEAD_INLINE void from_field_order(int bits, int dim, float* row) {
  if (bits == 8) return;
  with_parts(dim, [&]<int kParts>() {
    for (int block = 0; block < dim; block += kParts * kLanes) block_from_fields<kParts>(row + block);
  });
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
