// Small kernels for the tests of the Metal backend.
#include <metal_stdlib>

#include "vector_params.h"
using namespace metal;

/// out = a + scale * b
template <typename T>
[[kernel]] void vector_add(device const T* a [[buffer(0)]], device const T* b [[buffer(1)]], device T* out [[buffer(2)]],
                           constant VectorParams& params [[buffer(30)]], uint i [[thread_position_in_grid]]) {
  if (i < params.count) out[i] = T(float(a[i]) + params.scale * float(b[i]));
}

template [[host_name("vector_add_float32")]] [[kernel]] decltype(vector_add<float>) vector_add<float>;
template [[host_name("vector_add_float16")]] [[kernel]] decltype(vector_add<half>) vector_add<half>;

/// out[group] = sum of 64 elements of a
[[kernel]] void group_sum(device const float* a [[buffer(0)]], device float* out [[buffer(1)]],
                          threadgroup float* sums [[threadgroup(0)]], uint i [[thread_position_in_grid]],
                          uint t [[thread_index_in_threadgroup]], uint group [[threadgroup_position_in_grid]]) {
  sums[t] = a[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (t != 0) return;
  float sum = 0.0f;
  for (uint k = 0; k < 64; ++k) sum += sums[k];
  out[group] = sum;
}

/// Writes one element past what the host promised to bind.
[[kernel]] void writes_too_far(device float* out [[buffer(0)]], constant VectorParams& params [[buffer(30)]],
                               uint i [[thread_position_in_grid]]) {
  if (i == 0) out[params.count] = 1.0f;
}
