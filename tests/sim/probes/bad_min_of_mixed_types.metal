// expect: call to 'min' is ambiguous
#include <metal_stdlib>
using namespace metal;

kernel void k(device int* a [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  int n = 3;
  a[0] = min(n, i);
}
