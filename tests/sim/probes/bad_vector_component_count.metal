// expect: vector constructor: wrong component count
#include <metal_stdlib>
using namespace metal;

kernel void k(device float4* a [[buffer(0)]]) {
  a[0] = float4(1.0f, 2.0f);
}
