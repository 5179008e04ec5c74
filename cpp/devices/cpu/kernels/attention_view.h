// One attention launch as the CPU kernels see it: typed pointers, flags and the length of each sequence.
#pragma once

#include "core/launch.h"
#include "devices/cpu/kernels/simd.h"
#include "params/attention_params.h"
#include "params/function_constants.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

// Read without the members of Launch: those are inline functions of the whole program, and a copy compiled
// here must not be the one that the linker keeps.
template <class T>
METALHEAD_INLINE T* slot_data(const Launch& launch, int slot) {
  const BufferBinding& b = reinterpret_cast<const BufferBinding*>(&launch.buffers)[slot];
  return b.length == 0 ? nullptr : reinterpret_cast<T*>(static_cast<char*>(b.buffer.contents) + b.offset);
}
METALHEAD_INLINE uint32_t constant_of(const Launch& launch, int index) {
  return reinterpret_cast<const uint32_t*>(&launch.constants.values)[index];
}
METALHEAD_INLINE DType dtype_of(const Launch& launch, int index) {
  return reinterpret_cast<const DType*>(&launch.dtypes)[index];
}
template <class Params>
METALHEAD_INLINE const Params& params_of(const Launch& launch) {
  return *reinterpret_cast<const Params*>(&launch.params_bytes);
}
/// Bytes of one element of a type that attention computes on.
METALHEAD_INLINE int64_t element_bytes(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

METALHEAD_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
METALHEAD_INLINE int64_t larger(int64_t a, int64_t b) { return a < b ? b : a; }

/// A threadgroup's place in the grid.
struct GridPosition {
  int64_t x, y, z;
};
METALHEAD_INLINE GridPosition grid_position(const Launch& launch, uint64_t index) {
  const uint64_t x = launch.grid.x, y = launch.grid.y;
  return {static_cast<int64_t>(index % x), static_cast<int64_t>(index / x % y),
          static_cast<int64_t>(index / x / y)};
}

/// What a packed side of the cache has beside its codes.
struct PackedSide {
  int bits;  ///< 0 for a dense side
  const char* norms;
  DType norm_dtype;
  const metalhead_long* norm_strides;
};

struct AttentionView {
  const Launch* launch;
  const AttentionParams* params;
  DType query_dtype, key_dtype, value_dtype, out_dtype;
  const char *query, *key, *value, *mask;
  char* out;
  float *lse, *partial_out, *partial_stats;
  const float *alibi_slopes, *sinks;
  const int32_t *kv_lengths, *ring_starts;
  uint32_t mask_kind;
  bool has_softcap, has_ring;
  PackedSide packed_key, packed_value;
  bool rotate_query, rotate_out;
  int64_t group;  ///< query heads that share a KV head
};

METALHEAD_INLINE AttentionView view_of(const Launch& launch) {
  const auto flag = [&](int index) __attribute__((always_inline)) { return constant_of(launch, index) != 0; };
  AttentionView view{};
  view.launch = &launch;
  view.params = &params_of<AttentionParams>(launch);
  view.query_dtype = dtype_of(launch, 0);
  view.key_dtype = dtype_of(launch, 1);
  view.value_dtype = dtype_of(launch, 2);
  view.out_dtype = dtype_of(launch, 3);
  view.query = slot_data<const char>(launch, kSlotQuery);
  view.key = slot_data<const char>(launch, kSlotKey);
  view.value = slot_data<const char>(launch, kSlotValue);
  view.out = slot_data<char>(launch, kSlotOut);
  view.mask_kind = constant_of(launch, kConstantMaskKind);
  view.mask = view.mask_kind == kMaskNone ? nullptr : slot_data<const char>(launch, kSlotMask);
  view.lse = flag(kConstantHasLse) ? slot_data<float>(launch, kSlotLse) : nullptr;
  view.alibi_slopes = flag(kConstantHasAlibi) ? slot_data<const float>(launch, kSlotAlibiSlopes) : nullptr;
  view.sinks = flag(kConstantHasSinks) ? slot_data<const float>(launch, kSlotSinks) : nullptr;
  view.kv_lengths = flag(kConstantHasKvLengths) ? slot_data<const int32_t>(launch, kSlotKvLengths) : nullptr;
  view.has_ring = flag(kConstantHasRing);
  view.ring_starts = view.has_ring ? slot_data<const int32_t>(launch, kSlotRingStarts) : nullptr;
  view.has_softcap = flag(kConstantHasSoftcap);
  const uint32_t norm_is_half = constant_of(launch, kConstantNormIsHalf);
  view.packed_key = {
      static_cast<int>(constant_of(launch, kConstantKeyBits)), slot_data<const char>(launch, kSlotKeyNorms),
      (norm_is_half & 1u) != 0 ? DType::kFloat16 : DType::kFloat32, view.params->key_norm_strides};
  view.packed_value = {static_cast<int>(constant_of(launch, kConstantValueBits)),
                       slot_data<const char>(launch, kSlotValueNorms),
                       (norm_is_half & 2u) != 0 ? DType::kFloat16 : DType::kFloat32,
                       view.params->value_norm_strides};
  view.rotate_query = flag(kConstantRotateQuery);
  view.rotate_out = flag(kConstantRotateOut);
  if (flag(kConstantSplitOutput)) {
    view.partial_out = slot_data<float>(launch, kSlotPartialOut);
    view.partial_stats = slot_data<float>(launch, kSlotPartialStats);
  }
  view.group = view.params->query_heads / view.params->kv_heads;
  return view;
}

/// The keys of one sequence: how many, and where the oldest one lies.
struct Sequence {
  int64_t batch;
  int64_t kv_length;
  int64_t ring_start;  ///< 0 unless the rows wrap
  int64_t wrap;        ///< physical rows after which the ring starts over
};

METALHEAD_INLINE Sequence sequence_of(const AttentionView& view, int64_t batch) {
  const AttentionParams& params = *view.params;
  Sequence sequence{batch, params.kv_length, 0, INT64_MAX};
  if (view.kv_lengths != nullptr) sequence.kv_length = view.kv_lengths[batch];
  if (view.has_ring) {
    sequence.ring_start = view.ring_starts != nullptr ? view.ring_starts[batch] : params.ring_start;
    sequence.wrap = params.kv_capacity;
  }
  return sequence;
}

METALHEAD_INLINE int64_t physical_row(const Sequence& sequence, int64_t key) {
  const int64_t row = sequence.ring_start + key;
  return row >= sequence.wrap ? row - sequence.wrap : row;
}

/// How many of the keys [key, end) follow each other in memory, from `key` on.
METALHEAD_INLINE int64_t contiguous_keys(const Sequence& sequence, int64_t key, int64_t end) {
  return smaller(end - key, sequence.wrap - physical_row(sequence, key));
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
