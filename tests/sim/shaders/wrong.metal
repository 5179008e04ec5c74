// Kernels that are wrong on purpose; the comment after each marks the line that a report must name.
#include <metal_stdlib>
using namespace metal;

constant bool missing [[function_constant(7)]];
constant bool has_extra [[function_constant(8)]];

kernel void race_threadgroup(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  threadgroup float tile[64];
  tile[t] = float(t);
  out[t] = tile[t ^ 1];  // race_threadgroup
}

kernel void race_missing_simdgroup_barrier(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  threadgroup float scores[32];
  float sum = 0;
  for (int chunk = 0; chunk < 2; ++chunk) {
    scores[t] = float(t + uint(chunk));  // race_missing_simdgroup_barrier
    simdgroup_barrier(mem_flags::mem_threadgroup);
    for (int i = 0; i < 32; ++i) sum += scores[i];
  }
  out[t] = sum;
}

kernel void race_wrong_barrier(device float* out [[buffer(0)]], device float* result [[buffer(1)]],
                               uint t [[thread_index_in_threadgroup]]) {
  out[t] = float(t);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  result[t] = out[63 - t];  // race_wrong_barrier
}

kernel void race_simdgroup_scope(device float* result [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  threadgroup float tile[64];
  tile[t] = float(t);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  result[t] = tile[63 - t];  // race_simdgroup_scope
}

kernel void race_same_value(device float* out [[buffer(0)]]) {
  out[0] = 1;  // race_same_value
}

kernel void race_between_threadgroups(device float* out [[buffer(0)]], uint group [[threadgroup_position_in_grid]],
                                      uint t [[thread_index_in_threadgroup]]) {
  if (t == 0) out[group / 2] = 1;  // race_between_threadgroups
}

kernel void race_read_between_threadgroups(device float* out [[buffer(0)]], device float* copied [[buffer(1)]],
                                           uint i [[thread_position_in_grid]]) {
  if (i < 32) copied[i] = out[0];  // race_read_between_threadgroups
  if (i == 40) out[0] = 1;         // race_read_between_threadgroups
}

kernel void divergent_barrier(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  if (t < 32) threadgroup_barrier(mem_flags::mem_threadgroup);  // divergent_barrier
  out[t] = 1;
}

kernel void divergent_barrier_in_simdgroup(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  if (t & 1) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // divergent_barrier_in_simdgroup
  } else {
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  out[t] = 1;
}

kernel void divergent_simd(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  if (t % 32 < 16) {
    out[t] = simd_sum(1.0f);  // divergent_simd
  } else {
    out[t] = simd_max(1.0f);
  }
}

kernel void divergent_loop(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  float sum = 0;
  for (uint i = 0; i < t; ++i) sum += simd_sum(1.0f);  // divergent_loop
  threadgroup_barrier(mem_flags::mem_none);
  out[t] = sum;
}

kernel void returned_before_simdgroup_barrier(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  if (t == 5) return;
  simdgroup_barrier(mem_flags::mem_none);  // returned_before_simdgroup_barrier
  out[t] = 1;
}

kernel void shuffle_from_returned(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  if (t >= 30) return;
  out[t] = simd_shuffle_xor(float(t), 2);  // shuffle_from_returned
}

kernel void broadcast_of_mixed_lanes(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  out[t] = simd_broadcast(float(t), ushort(t & 1));  // broadcast_of_mixed_lanes
}

kernel void matrix_in_part(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  if (t >= 24) return;
  simdgroup_float8x8 m(1);
  simdgroup_multiply_accumulate(m, m, m, m);  // matrix_in_part
  out[t] = m.thread_elements()[0];
}

kernel void read_out_of_bounds(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                               uint i [[thread_position_in_grid]]) {
  out[i] = in[i + 1];  // read_out_of_bounds
}

kernel void write_out_of_bounds(device float* out [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  out[i * 2] = 1;  // write_out_of_bounds
}

kernel void read_before_start(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                              uint i [[thread_position_in_grid]]) {
  out[i] = in[int(i) - 100000];  // read_before_start
}

kernel void vector_past_end(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                            uint i [[thread_position_in_grid]]) {
  out[i] = ((device const float4*)in)[i].x;  // vector_past_end
}

kernel void misaligned_vector(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                              uint i [[thread_position_in_grid]]) {
  const float4 v = *(device const float4*)(in + i);  // misaligned_vector
  out[i] = v.x + v.y + v.z + v.w;
}

kernel void threadgroup_out_of_bounds(device float* out [[buffer(0)]], threadgroup float* block [[threadgroup(0)]],
                                      uint t [[thread_index_in_threadgroup]]) {
  block[t] = float(t);  // threadgroup_out_of_bounds
  out[t] = block[t];
}

kernel void static_out_of_bounds(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  threadgroup float tile[16];
  tile[t] = float(t);  // static_out_of_bounds
  out[t] = tile[t];
}

kernel void uninitialised_threadgroup(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  threadgroup float tile[32];
  if (t != 7) tile[t] = 1;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  out[t] = tile[t];  // uninitialised_threadgroup
}

kernel void uninitialised_in_next_group(device float* out [[buffer(0)]], uint i [[thread_position_in_grid]],
                                        uint t [[thread_index_in_threadgroup]]) {
  threadgroup float tile[32];
  if (i < 32) tile[t] = 1;
  out[i] = tile[t];  // uninitialised_in_next_group
}

kernel void uninitialised_accumulator(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  threadgroup float tile[32];
  tile[t] += 1;  // uninitialised_accumulator
  out[t] = tile[t];
}

kernel void uninitialised_atomic(device uint* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  threadgroup atomic_uint tile;
  atomic_fetch_add_explicit(&tile, 1u, memory_order_relaxed);  // uninitialised_atomic
  threadgroup_barrier(mem_flags::mem_threadgroup);
  out[t] = atomic_load_explicit(&tile, memory_order_relaxed);
}

kernel void calls_another_kernel(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  uninitialised_accumulator(out, t);
}

kernel void too_much_threadgroup_memory(device float* out [[buffer(0)]], threadgroup float* block [[threadgroup(0)]],
                                        uint t [[thread_index_in_threadgroup]]) {
  threadgroup float tile[4096];
  tile[t] = block[t] = 1;
  out[t] = tile[t] + block[t];
}

kernel void undefined_constant(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  out[t] = missing ? 1.0f : 0.0f;  // undefined_constant
}

kernel void unbound_buffer(device float* out [[buffer(0)]], device const float* in [[buffer(1)]],
                           device const float* extra [[buffer(2), function_constant(has_extra)]],
                           uint t [[thread_index_in_threadgroup]]) {
  out[t] = in[t] + (has_extra ? extra[t] : 0.0f);
}

[[max_total_threads_per_threadgroup(64)]] kernel void few_threads(device float* out [[buffer(0)]],
                                                                  uint t [[thread_index_in_threadgroup]]) {
  out[t] = 1;
}

struct Params {
  uint length;
  float scale[7];
};
kernel void short_params(device float* out [[buffer(0)]], constant Params& params [[buffer(1)]]) {
  out[0] = params.scale[0];
}

kernel void write_through_const(device const float* in [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  ((device float*)in)[t] = 1;  // write_through_const
}

kernel void copy(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                 uint i [[thread_position_in_grid]]) {
  out[i] = in[i];
}

kernel void depends_on_lockstep(device float* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  threadgroup float tile[32];
  tile[t] = float(t);
  out[t] = tile[31 - t];
}

kernel void order_of_threadgroups(device float* out [[buffer(0)]], device float* last [[buffer(1)]],
                                  uint group [[threadgroup_position_in_grid]]) {
  last[0] = last[0] * 2 + float(group);
  out[group] = last[0];
}

kernel void private_array_bounds(device uint* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {
  int local[4] = {1, 2, 3, 4};
  out[t] = uint(local[t & 7]);  // private_array_bounds
}
