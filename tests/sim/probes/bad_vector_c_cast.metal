// expect: C-style cast to a vector type: write float4(...)
#include <metal_stdlib>
using namespace metal;

kernel void k(device float4* a [[buffer(0)]], device int4* b [[buffer(1)]]) {
  a[0] = (float4)b[0];
}
