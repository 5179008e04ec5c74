// expect: variable length arrays
#include <metal_stdlib>
using namespace metal;

kernel void k(device int* a [[buffer(0)]], uint n [[threads_per_grid]]) {
  int t[n];
  t[0] = 1;
  a[0] = t[0];
}
