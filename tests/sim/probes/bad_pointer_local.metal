// expect: pointer or reference 'p' without an address space
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* a [[buffer(0)]]) {
  float t = 2;
  float* p = &t;
  a[0] = *p;
}
