// One kernel for each function of the shim, to compare with NumPy.
#include <metal_stdlib>
using namespace metal;

#define UNARY(name, type)                                                                                          \
  kernel void name##_##type(device const type* x [[buffer(0)]], device type* out [[buffer(1)]],                    \
                            uint i [[thread_position_in_grid]]) {                                                  \
    out[i] = name(x[i]);                                                                                           \
  }
#define UNARY_ALL(name) UNARY(name, float) UNARY(name, half) UNARY(name, float4)
UNARY_ALL(acos) UNARY_ALL(asin) UNARY_ALL(atan) UNARY_ALL(cos) UNARY_ALL(cosh) UNARY_ALL(exp) UNARY_ALL(exp2)
UNARY_ALL(exp10) UNARY_ALL(log) UNARY_ALL(log2) UNARY_ALL(log10) UNARY_ALL(rsqrt) UNARY_ALL(sin) UNARY_ALL(sinh)
UNARY_ALL(sqrt) UNARY_ALL(tan) UNARY_ALL(tanh) UNARY_ALL(ceil) UNARY_ALL(fabs) UNARY_ALL(floor) UNARY_ALL(fract)
UNARY_ALL(rint) UNARY_ALL(round) UNARY_ALL(trunc) UNARY_ALL(saturate) UNARY_ALL(sign) UNARY_ALL(abs)
UNARY(popcount, uint) UNARY(clz, uint) UNARY(ctz, uint) UNARY(reverse_bits, uint) UNARY(abs, int)
UNARY(popcount, ushort) UNARY(clz, ushort) UNARY(clz, uchar) UNARY(popcount, uint4)

#define SPACED(space, name)                                                                                        \
  kernel void space##_##name(device const float* x [[buffer(0)]], device float* out [[buffer(1)]],                 \
                             uint i [[thread_position_in_grid]]) {                                                 \
    out[i] = space::name(x[i]);                                                                                    \
  }
SPACED(fast, exp) SPACED(fast, exp2) SPACED(fast, log) SPACED(fast, tanh) SPACED(fast, rsqrt)
SPACED(precise, exp) SPACED(precise, log) SPACED(precise, tanh) SPACED(precise, sqrt) SPACED(precise, cos)

#define BINARY(name, type)                                                                                         \
  kernel void name##_##type(device const type* x [[buffer(0)]], device const type* y [[buffer(1)]],                \
                            device type* out [[buffer(2)]], uint i [[thread_position_in_grid]]) {                  \
    out[i] = name(x[i], y[i]);                                                                                     \
  }
BINARY(min, float) BINARY(max, float) BINARY(pow, float) BINARY(fmod, float) BINARY(atan2, float)
BINARY(copysign, float) BINARY(fdim, float) BINARY(step, float) BINARY(min, half) BINARY(max, half)
BINARY(min, int) BINARY(max, uint) BINARY(min, short) BINARY(max, ulong) BINARY(min, float4) BINARY(max, half4)
BINARY(mulhi, uint) BINARY(mulhi, int) BINARY(rotate, uint) BINARY(absdiff, uint) BINARY(hadd, uint) BINARY(addsat, uchar)
BINARY(subsat, uchar) BINARY(mul24, uint)

#define TERNARY(name, type)                                                                                        \
  kernel void name##_##type(device const type* x [[buffer(0)]], device const type* y [[buffer(1)]],                \
                            device const type* z [[buffer(2)]], device type* out [[buffer(3)]],                    \
                            uint i [[thread_position_in_grid]]) {                                                  \
    out[i] = name(x[i], y[i], z[i]);                                                                               \
  }
TERNARY(fma, float) TERNARY(fma, half) TERNARY(mix, float) TERNARY(clamp, float) TERNARY(clamp, int) TERNARY(clamp, half4)
TERNARY(max3, float) TERNARY(min3, float) TERNARY(median3, float) TERNARY(smoothstep, float) TERNARY(fma, float4)

// Selection, tests, geometry and bit fields.
kernel void tests(device const float* x [[buffer(0)]], device uint* out [[buffer(1)]],
                  uint i [[thread_position_in_grid]]) {
  const float v = x[i];
  out[i] = uint(isnan(v)) | uint(isinf(v)) << 1 | uint(isfinite(v)) << 2 | uint(signbit(v)) << 3 | uint(isnormal(v)) << 4;
}
kernel void vectors(device const float4* x [[buffer(0)]], device const float4* y [[buffer(1)]],
                    device float* out [[buffer(2)]], uint i [[thread_position_in_grid]]) {
  const float4 a = x[i], b = y[i];
  device float* row = out + i * 12;
  row[0] = dot(a, b);
  row[1] = length(a);
  row[2] = distance(a, b);
  row[3] = normalize(a).y;
  row[4] = cross(a.xyz, b.xyz).z;
  row[5] = select(a, b, a < b).w;
  row[6] = select(1.0f, 2.0f, a.x < b.x);
  row[7] = float(any(a > b)) + 2.0f * float(all(a > b));
  row[8] = length_squared(b);
  row[9] = max(a, 0.5f).z;
  row[10] = clamp(a, -0.25f, 0.25f).x;
  row[11] = a.wzyx.x;
}
kernel void bit_fields(device const uint* x [[buffer(0)]], device uint* out [[buffer(1)]],
                       uint i [[thread_position_in_grid]]) {
  out[4 * i] = extract_bits(x[i], 3u, 7u);
  out[4 * i + 1] = uint(extract_bits(int(x[i]), 3u, 7u));
  out[4 * i + 2] = insert_bits(x[i], 0x2au, 4u, 6u);
  out[4 * i + 3] = mad24(x[i], 3u, 5u);
}

// Conversions and reinterpretation.
kernel void conversions(device const float4* x [[buffer(0)]], device half4* halves [[buffer(1)]],
                        device bfloat4* bfloats [[buffer(2)]], device int4* ints [[buffer(3)]],
                        device uchar4* bytes [[buffer(4)]], device uint* bits [[buffer(5)]],
                        device packed_float3* packed [[buffer(6)]], device float* combined [[buffer(7)]],
                        uint i [[thread_position_in_grid]]) {
  const float4 v = x[i];
  halves[i] = half4(v);
  bfloats[i] = bfloat4(v);
  ints[i] = int4(v);
  bytes[i] = uchar4(abs(v));
  bits[i] = as_type<uint>(v.x) ^ uint(as_type<ushort>(half(v.y)));
  packed[i] = packed_float3(v.xyz);
  const float4 mixed = float4(v.x, float2(v.zw), float(int(v.y)));
  combined[2 * i] = dot(mixed, float4(1, 10, 100, 1000));
  combined[2 * i + 1] = float(half(v.x) * half(v.y) + half(v.z)) + float(bfloat(v.x) * bfloat(v.y));
}

kernel void positions(device uint* out [[buffer(0)]], uint3 grid [[thread_position_in_grid]],
                      uint3 inside [[thread_position_in_threadgroup]], uint3 group [[threadgroup_position_in_grid]],
                      uint3 size [[threads_per_threadgroup]], uint3 total [[threads_per_grid]],
                      uint3 groups [[threadgroups_per_grid]], uint index [[thread_index_in_threadgroup]],
                      ushort lane [[thread_index_in_simdgroup]], ushort simdgroup [[simdgroup_index_in_threadgroup]],
                      uint simdgroups [[simdgroups_per_threadgroup]], uint width [[threads_per_simdgroup]],
                      ushort quad_lane [[thread_index_in_quadgroup]], ushort quad [[quadgroup_index_in_threadgroup]]) {
  device uint* row = out + ((grid.z * total.y + grid.y) * total.x + grid.x) * 16;
  row[0] = grid.x + 1000 * grid.y + 1000000 * grid.z;
  row[1] = inside.x + 1000 * inside.y + 1000000 * inside.z;
  row[2] = group.x + 1000 * group.y + 1000000 * group.z;
  row[3] = size.x + 1000 * size.y + 1000000 * size.z;
  row[4] = total.x + 1000 * total.y + 1000000 * total.z;
  row[5] = groups.x + 1000 * groups.y + 1000000 * groups.z;
  row[6] = index;
  row[7] = lane;
  row[8] = simdgroup;
  row[9] = simdgroups;
  row[10] = width;
  row[11] = quad_lane;
  row[12] = quad;
}
