// Access patterns whose byte counts are known.
#include <metal_stdlib>
using namespace metal;

kernel void coalesced(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                      uint i [[thread_position_in_grid]]) {
  out[i] = in[i];
}

kernel void uniform_load(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                         uint i [[thread_position_in_grid]]) {
  out[i] = in[0] + 1;
}

kernel void vector_load(device const half4* in [[buffer(0)]], device half4* out [[buffer(1)]],
                        uint i [[thread_position_in_grid]]) {
  out[i] = in[i] * 2.0h;
}

kernel void strided(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                    uint i [[thread_position_in_grid]]) {
  out[i] = in[4 * i];
}

// Every simdgroup reads the same row, one step of a loop after another.
kernel void rows(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                 constant uint& count [[buffer(2)]], uint i [[thread_position_in_grid]],
                 uint lane [[thread_index_in_simdgroup]]) {
  float sum = 0;
  for (uint row = 0; row < count; ++row) {
    sum += simd_sum(in[row * 32 + lane]);
  }
  out[i] = sum;
}

// Lanes run different numbers of steps: instances pair by step.
kernel void triangle(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                     uint lane [[thread_index_in_simdgroup]]) {
  float sum = 0;
  for (uint step = 0; step <= lane; ++step) sum += in[step];
  out[lane] = sum;
}

kernel void increment(device float* data [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  data[i] += 1;
}

kernel void through_threadgroup(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                                threadgroup float* block [[threadgroup(0)]], uint i [[thread_position_in_grid]],
                                uint t [[thread_index_in_threadgroup]], uint size [[threads_per_threadgroup]]) {
  block[t] = in[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  out[i] = block[size - 1 - t];
}

kernel void matrix_tile(device const half* in [[buffer(0)]], device half* out [[buffer(1)]]) {
  simdgroup_half8x8 tile;
  simdgroup_load(tile, in, 16);
  simdgroup_store(tile, out, 8);
}

struct Pair {
  float4 first;
  uint2 second;
};
kernel void whole_struct(device const Pair* in [[buffer(0)]], device Pair* out [[buffer(1)]],
                         uint i [[thread_position_in_grid]]) {
  out[i].first = in[i].first;
  out[i].second = in[i].second;
}
