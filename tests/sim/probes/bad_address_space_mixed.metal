// expect: cannot initialize a variable of type 'device float *' with an lvalue of type 'threadgroup float *'
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* a [[buffer(0)]], threadgroup float* s [[threadgroup(0)]]) {
  device float* p = s;
  p[0] = 1;
}
