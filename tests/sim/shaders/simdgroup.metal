// simdgroup and quadgroup functions, matrices and atomics, to compare with NumPy.
#include <metal_stdlib>
using namespace metal;

#define LANES(name, type, expression)                                                                              \
  kernel void name##_##type(device const type* x [[buffer(0)]], device type* out [[buffer(1)]],                    \
                            constant ushort& n [[buffer(2)]], uint i [[thread_position_in_grid]]) {                \
    const type v = x[i];                                                                                           \
    out[i] = expression;                                                                                           \
  }
#define LANES_ALL(name, expression) \
  LANES(name, float, expression) LANES(name, half, expression) LANES(name, int, expression) LANES(name, float4, expression)
LANES_ALL(simd_sum, simd_sum(v))
LANES_ALL(simd_max, simd_max(v))
LANES_ALL(simd_min, simd_min(v))
LANES_ALL(simd_product, simd_product(v))
LANES_ALL(simd_shuffle, simd_shuffle(v, n))
LANES_ALL(simd_shuffle_xor, simd_shuffle_xor(v, n))
LANES_ALL(simd_shuffle_up, simd_shuffle_up(v, n))
LANES_ALL(simd_shuffle_down, simd_shuffle_down(v, n))
LANES_ALL(simd_shuffle_rotate_up, simd_shuffle_rotate_up(v, n))
LANES_ALL(simd_shuffle_rotate_down, simd_shuffle_rotate_down(v, n))
LANES_ALL(simd_broadcast, simd_broadcast(v, n))
LANES_ALL(simd_broadcast_first, simd_broadcast_first(v))
LANES_ALL(simd_prefix_inclusive_sum, simd_prefix_inclusive_sum(v))
LANES_ALL(simd_prefix_exclusive_sum, simd_prefix_exclusive_sum(v))
LANES(simd_prefix_inclusive_product, float, simd_prefix_inclusive_product(v))
LANES(simd_prefix_exclusive_product, float, simd_prefix_exclusive_product(v))
LANES_ALL(quad_sum, quad_sum(v))
LANES_ALL(quad_max, quad_max(v))
LANES_ALL(quad_broadcast, quad_broadcast(v, n & 3))
LANES_ALL(quad_shuffle_xor, quad_shuffle_xor(v, n & 3))
LANES(simd_and, int, simd_and(v))
LANES(simd_or, int, simd_or(v))
LANES(simd_xor, int, simd_xor(v))

kernel void votes(device const int* x [[buffer(0)]], device uint* out [[buffer(1)]],
                  uint i [[thread_position_in_grid]]) {
  const bool odd = x[i] & 1;
  out[4 * i] = uint(ulong(simd_ballot(odd)));
  out[4 * i + 1] = uint(simd_all(odd)) + 2 * uint(simd_any(odd)) + 4 * uint(quad_all(odd)) + 8 * uint(quad_any(odd));
  out[4 * i + 2] = uint(simd_is_first());
  out[4 * i + 3] = uint(simd_ballot(odd).any()) + 2 * uint(simd_active_threads_mask().all());
}

// Lanes from 20 on return first: reductions must skip them.
kernel void after_return(device const float* x [[buffer(0)]], device float* out [[buffer(1)]],
                         uint i [[thread_position_in_grid]]) {
  if (i >= 20) return;
  out[i] = simd_sum(x[i]);
}

template <typename T, typename ACC>
[[kernel]] void matrix(device const T* a [[buffer(0)]], device const T* b [[buffer(1)]], device ACC* out [[buffer(2)]],
                       constant uint& stride [[buffer(3)]], threadgroup T* scratch [[threadgroup(0)]],
                       uint lane [[thread_index_in_simdgroup]]) {
  simdgroup_matrix<T, 8, 8> left, right, transposed;
  for (uint i = lane; i < 64; i += 32) scratch[i] = b[(i / 8) * stride + i % 8];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  simdgroup_load(left, a, stride, ulong2(1, 2));
  simdgroup_load(right, (threadgroup const T*)scratch);
  simdgroup_load(transposed, b, stride, ulong2(0), true);
  simdgroup_matrix<ACC, 8, 8> sum = make_filled_simdgroup_matrix<ACC, 8, 8>(ACC(1));
  simdgroup_multiply_accumulate(sum, left, right, sum);
  simdgroup_store(sum, out, 8);
  simdgroup_matrix<ACC, 8, 8> product;
  simdgroup_multiply(product, left, transposed);
  simdgroup_store(product, out + 64, 8, ulong2(0), true);
  simdgroup_matrix<ACC, 8, 8> diagonal(ACC(3));
  diagonal.thread_elements() *= ACC(2);
  simdgroup_store(diagonal, out + 128);
  const thread vec<ACC, 2>& elements = sum.thread_elements();
  out[192 + 2 * lane] = elements[0];
  out[193 + 2 * lane] = elements[1];
}
#define INSTANTIATE(name, T, ACC) \
  template [[host_name("matrix_" #name)]] [[kernel]] decltype(matrix<T, ACC>) matrix<T, ACC>;
INSTANTIATE(float, float, float)
INSTANTIATE(half, half, float)
INSTANTIATE(bfloat, bfloat, float)
INSTANTIATE(half_half, half, half)

kernel void atomics(device atomic_uint* counters [[buffer(0)]], device atomic_float* sums [[buffer(1)]],
                    device atomic_int* ints [[buffer(2)]], device const int* x [[buffer(3)]],
                    uint i [[thread_position_in_grid]], uint t [[thread_index_in_threadgroup]]) {
  threadgroup atomic_uint local;
  if (t == 0) atomic_store_explicit(&local, 0u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  atomic_fetch_add_explicit(&local, 2u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (t == 0) atomic_fetch_add_explicit(&counters[0], atomic_load_explicit(&local, memory_order_relaxed), memory_order_relaxed);
  atomic_fetch_or_explicit(&counters[1], 1u << (i & 31), memory_order_relaxed);
  atomic_fetch_add_explicit(&sums[0], 0.5f, memory_order_relaxed);
  atomic_fetch_min_explicit(&ints[0], x[i], memory_order_relaxed);
  atomic_fetch_max_explicit(&ints[1], x[i], memory_order_relaxed);
  atomic_fetch_sub_explicit(&ints[2], 1, memory_order_relaxed);
  uint seen = atomic_load_explicit(&counters[2], memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(&counters[2], &seen, seen + 3, memory_order_relaxed, memory_order_relaxed)) {
  }
  if (i == 0) atomic_exchange_explicit(&counters[3], 77u, memory_order_relaxed);
}
