// expect: assigning to 'float4' (vector of 4 'float' values) from incompatible type
#include <metal_stdlib>
using namespace metal;

kernel void k(device float4* a [[buffer(0)]], device half4* b [[buffer(1)]]) {
  a[0] = b[0];
}
