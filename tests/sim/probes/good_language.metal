// What a serious kernel needs: it must pass the strict check.
#include <metal_simdgroup>
#include <metal_stdlib>

#include "good_params.h"
using namespace metal;

constant bool causal [[function_constant(0)]];
constant uint group_size [[function_constant(1)]];
constant float softcap [[function_constant(2)]];
constant bool has_softcap = is_function_constant_defined(softcap);
constant bool capped_causal = causal && has_softcap;

constant float levels[4] = {-1.5f, -0.5f, 0.5f, 1.5f};
constant constexpr int kTile = 8;

template <typename T>
struct Vector {
  typedef vec<T, 4> type;
};

template <typename T, int N>
struct Row {
  static constant constexpr int kCount = N;
  T values[N];
  METAL_FUNC void add(T x) thread {
    for (int i = 0; i < kCount; ++i) values[i] += x;
  }
};

template <typename T>
METAL_FUNC float dot4(device const T* a, threadgroup const T* b) {
  using T4 = vec<T, 4>;
  const T4 x = *(device const T4*)a;
  const T4 y = *(threadgroup const T4*)b;
  return dot(float4(x), float4(y));
}

METAL_FUNC void scale(thread float (&values)[4], float by) {
  for (ushort i = 0; i < 4; ++i) values[i] *= by;
}

METAL_FUNC float level(constant float* table, uchar code) { return table[code & 3]; }

template <typename T, int HEAD_DIM>
[[kernel, max_total_threads_per_threadgroup(256)]] void attend(
    device const T* q [[buffer(0)]], device const T* k [[buffer(1)]], device T* out [[buffer(2)]],
    constant GoodParams& params [[buffer(3)]], device const float* mask [[buffer(4), function_constant(causal)]],
    device atomic_uint* counter [[buffer(5)]], threadgroup T* scratch [[threadgroup(0)]],
    uint3 group [[threadgroup_position_in_grid]], ushort lane [[thread_index_in_simdgroup]],
    ushort simdgroup [[simdgroup_index_in_threadgroup]], uint2 position [[thread_position_in_threadgroup]]) {
  threadgroup float tile[kTile][kTile + 1];
  threadgroup half codes[HEAD_DIM], extra[4];
  float values[4] = {0, 1, 2, 3};
  float parts[2 * (HEAD_DIM / 64)];
  parts[0] = 1.0f;
  scale(values, params.scale);
  tile[lane & 7][simdgroup & 7] = values[lane & 3] + level(levels, uchar(lane));
  codes[lane] = half(values[0]);
  extra[lane & 3] = half(parts[0]);
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  Row<float, 4> row = {{1, 2, 3, 4}};
  row.add(tile[0][0]);
  float4 v = float4(row.values[0], float2(1.0f, 2.0f), 3.0f) * 0.5f;
  v.xy += v.zw;
  v = fast::exp2(v) + clamp(v, 0.0f, 1.0f) + select(v, float4(0), v > 1.0f);
  simdgroup_matrix<float, 8, 8> acc = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  simdgroup_matrix<T, 8, 8> a, b;
  simdgroup_load(a, q, HEAD_DIM, ulong2(0, 0), false);
  simdgroup_load(b, scratch, 8, ulong2(0), true);
  simdgroup_multiply_accumulate(acc, a, b, acc);
  thread auto& elements = acc.thread_elements();
  elements[0] *= capped_causal ? 2.0f : 1.0f;
  simdgroup_store(acc, (threadgroup float*)tile, kTile + 1);
  const float total = simd_sum(elements[1]) + simd_shuffle_xor(v.x, 1) + simd_broadcast(v.y, 0);
  const bool masked = causal && mask[lane] < 0.0f;
  const uint index = group.x * group_size + position.x;
  if (simd_all(!masked) && lane == 0) atomic_fetch_add_explicit(counter, 1u, memory_order_relaxed);
  if (has_softcap) out[index] = T(precise::tanh(total / softcap) + float(as_type<half>(ushort(15360))));
  if (index < params.length) out[index] = T(total + dot4<T>(k, scratch));
}

#define instantiate_attend(name, type, head_dim) \
  template [[host_name("attend_" #name "_" #head_dim)]] [[kernel]] decltype(attend<type, head_dim>) attend<type, head_dim>;
instantiate_attend(float, float, 64)
instantiate_attend(half, half, 128)
instantiate_attend(bfloat, bfloat, 128)
