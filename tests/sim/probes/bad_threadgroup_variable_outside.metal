// expect: threadgroup variable outside a kernel function
#include <metal_stdlib>
using namespace metal;

inline void f(device float* a) {
  threadgroup float t[32];
  a[0] = t[0];
}
kernel void k(device float* a [[buffer(0)]]) {
  f(a);
}
