// expect: no matching function for call to 'simd_sum'
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* a [[buffer(0)]]) {
  a[0] = simd_sum(a[0], 3);
}
