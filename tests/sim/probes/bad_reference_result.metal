// expect: function 'same' returns a pointer or reference without an address space
#include <metal_stdlib>
using namespace metal;

inline float& same(thread float& x) { return x; }
kernel void k(device float* a [[buffer(0)]]) {
  float t = 2;
  a[0] = same(t);
}
