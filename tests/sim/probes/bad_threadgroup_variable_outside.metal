// expect: a threadgroup variable stands in a kernel and begins with its qualifier
#include <metal_stdlib>
using namespace metal;

inline void f(device float* a) {
  threadgroup float t[4 * 8];
  a[0] = t[0];
}
kernel void k(device float* a [[buffer(0)]]) {
  f(a);
}
