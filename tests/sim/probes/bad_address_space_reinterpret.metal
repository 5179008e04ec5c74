// expect: reinterpret_cast from 'device float *' to 'threadgroup float *' is not allowed
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* a [[buffer(0)]]) {
  a[0] = *reinterpret_cast<threadgroup float*>(a);
}
