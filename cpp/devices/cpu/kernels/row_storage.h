// Rows of any storage type to float32, scaled, and back.
#pragma once

#include "devices/cpu/kernels/attention_view.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// to[i] = from[i] * factor for i < count; zeros up to `padded_count`.
template <class T>
METALHEAD_INLINE void load_row(float* to, const T* from, int64_t count, int64_t padded_count, float factor) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, load(from + i) * splat(factor));
  if (i < count) {
    const int tail = static_cast<int>(count - i);
    store_partial(to + i, load_partial(from + i, tail) * splat(factor), tail);
    i = count;
  }
  for (; i < padded_count; ++i) to[i] = 0.0f;
}

METALHEAD_INLINE void load_row(float* to, const char* from, DType dtype, int64_t count, int64_t padded_count,
                               float factor) {
  if (dtype == DType::kFloat32)
    load_row(to, reinterpret_cast<const float*>(from), count, padded_count, factor);
  if (dtype == DType::kFloat16)
    load_row(to, reinterpret_cast<const Float16*>(from), count, padded_count, factor);
  if (dtype == DType::kBFloat16)
    load_row(to, reinterpret_cast<const BFloat16*>(from), count, padded_count, factor);
}

/// to[i] = from[i] * factor for i < count, rounded to nearest.
template <class T>
METALHEAD_INLINE void store_row(T* to, const float* from, int64_t count, float factor) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, load(from + i) * splat(factor));
  const int tail = static_cast<int>(count - i);
  if (tail > 0) store_partial(to + i, load_partial(from + i, tail) * splat(factor), tail);
}

METALHEAD_INLINE void store_row(char* to, DType dtype, const float* from, int64_t count, float factor) {
  if (dtype == DType::kFloat32) store_row(reinterpret_cast<float*>(to), from, count, factor);
  if (dtype == DType::kFloat16) store_row(reinterpret_cast<Float16*>(to), from, count, factor);
  if (dtype == DType::kBFloat16) store_row(reinterpret_cast<BFloat16*>(to), from, count, factor);
}

METALHEAD_INLINE void store_zero_row(char* to, DType dtype, int64_t count) {
  __builtin_memset(to, 0, static_cast<size_t>(count * element_bytes(dtype)));
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
