// expect: cannot convert between vector values of different size
#include <metal_stdlib>
using namespace metal;

kernel void k(device float4* a [[buffer(0)]], device half4* b [[buffer(1)]]) {
  a[0] = a[0] * b[0];
}
