// Scalars, vectors, packed vectors, conversions and integer functions that must pass the strict check.
#include <metal_stdlib>
using namespace metal;

struct Record {
  packed_float3 direction;
  packed_half4 colour;
  uchar4 bytes;
};

kernel void types(device float* out [[buffer(0)]], device const packed_float4* packed [[buffer(1)]],
                  device const uchar* bytes [[buffer(2)]], constant Record& record [[buffer(3)]],
                  uint i [[thread_position_in_grid]], uint n [[threads_per_grid]]) {
  const float4 p = packed[i];
  const ushort2 pair = ushort2(bytes[i], bytes[i] >> 4);
  const half2 h = half2(pair);
  const bfloat b = bfloat(p.x);
  const int4 whole = int4(round(p));
  const uint bits = popcount(as_type<uint>(p.y)) + clz(uint(pair.x)) + reverse_bits(i) + extract_bits(i, 2u, 3u);
  const long wide = long(whole.x) * long(n);
  const ulong2 doubled = ulong2(ulong(wide), 1ul);
  const float3 direction = float3(record.direction.x, 1.0f, 2.0f);
  const float value = fma(p.z, p.w, float(h.x)) + float(b) + rsqrt(max(p.x, 1e-6f)) + mix(p.x, p.y, 0.5f);
  const bool finite = isfinite(value) && !isnan(value) && value < INFINITY && value > -FLT_MAX;
  out[i] = finite ? value + float(bits) + float(doubled.x & 7ul) + length(direction) + float(record.bytes.x) +
                        float(numeric_limits<half>::max()) + abs(value) + sign(value) + float(min(whole.x, 3))
                  : exp2(value) * M_PI_F;
}
