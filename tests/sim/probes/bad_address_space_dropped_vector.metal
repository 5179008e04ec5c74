// expect: cast changes the address space to 'const float4 *'
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* a [[buffer(0)]]) {
  float4 v = *((const thread float4*)a);
  a[0] = v.x;
}
