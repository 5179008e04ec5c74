// expect: pointer or reference 'x' without an address space
#include <metal_stdlib>
using namespace metal;

inline float first(float* x) { return x[0]; }
kernel void k(device float* a [[buffer(0)]]) {
  float t[2] = {1, 2};
  a[0] = first(t);
}
