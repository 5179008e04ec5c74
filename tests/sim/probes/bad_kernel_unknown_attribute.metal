// expect: unknown attribute 'thread_in_grid' of argument 'i'
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* a [[buffer(0)]], uint i [[thread_in_grid]]) {
  a[i] = 1;
}
