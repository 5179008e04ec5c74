// expect: function pointer 'f'
#include <metal_stdlib>
using namespace metal;

inline int h(int x) { return x; }
kernel void k(device int* a [[buffer(0)]]) {
  int (*f)(int) = h;
  a[0] = f(1);
}
