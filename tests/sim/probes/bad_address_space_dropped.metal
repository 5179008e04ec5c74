// expect: cast changes the address space to 'float *'
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* a [[buffer(0)]]) {
  a[0] = *((thread float*)a);
}
