// expect: cast between vectors reinterprets bits here
#include <metal_stdlib>
using namespace metal;

template <typename T>
void copy(device T* a, device int4* b) {
  a[0] = (T)b[0];
}
kernel void k(device float4* a [[buffer(0)]], device int4* b [[buffer(1)]]) {
  copy<float4>(a, b);
}
