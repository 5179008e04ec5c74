// expect: variable 'x' is used uninitialized
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* a [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  float x;
  if (i > 3) x = 1;
  a[i] = x;
}
