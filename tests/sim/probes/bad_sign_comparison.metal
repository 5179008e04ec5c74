// expect: comparison of integers of different signs
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* a [[buffer(0)]], uint i [[thread_position_in_grid]], constant int& n [[buffer(1)]]) {
  if (i < n) a[i] = 1;
}
