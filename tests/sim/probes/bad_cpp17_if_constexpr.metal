// expect: constexpr if is a C++17 extension
#include <metal_stdlib>
using namespace metal;

template <typename T>
float f(T x) {
  if constexpr (sizeof(T) == 4) return x;
  return 0;
}
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = f(a[0]);
}
