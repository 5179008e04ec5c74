// The smallest complete shader: a constant, a template table, threadgroup memory of both kinds.
#include <metal_stdlib>
using namespace metal;

constant bool doubled [[function_constant(0)]];
constant bool shifted [[function_constant(1)]];
constant bool changed = doubled || shifted;

template <typename T, int COUNT>
[[kernel]] void vector_add(device const T* a [[buffer(0)]], device const T* b [[buffer(1)]], device T* out [[buffer(2)]],
                           constant uint& n [[buffer(3)]], threadgroup T* shared [[threadgroup(0)]],
                           uint i [[thread_position_in_grid]], uint t [[thread_index_in_threadgroup]]) {
  threadgroup T tile[2 * COUNT / 2];
  shared[t] = i < n ? a[i] : T(0);
  tile[t] = i < n ? b[i] : T(0);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  T sum = shared[t] + tile[t];
  if (changed) {
    sum = doubled ? sum * T(2) : sum + T(1);
  }
  if (i < n) out[i] = sum;
}

#define INSTANTIATE(name, T, COUNT) \
  template [[host_name("vector_add_" #name)]] [[kernel]] decltype(vector_add<T, COUNT>) vector_add<T, COUNT>;
INSTANTIATE(float, float, 64)
INSTANTIATE(half, half, 64)
INSTANTIATE(float4, float4, 64)
