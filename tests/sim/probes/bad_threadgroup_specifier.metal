// expect: a threadgroup variable stands in a kernel and begins with its qualifier
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* a [[buffer(0)]]) {
  alignas(16) threadgroup float t[32];
  a[0] = t[0];
}
