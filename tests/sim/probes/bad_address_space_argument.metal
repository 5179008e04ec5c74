// expect: no matching function for call to 'first'
#include <metal_stdlib>
using namespace metal;

inline float first(threadgroup float* x) { return x[0]; }
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = first(a);
}
