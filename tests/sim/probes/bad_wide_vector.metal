// expect: 32-byte vector access
#include <metal_stdlib>
using namespace metal;

kernel void k(device ulong4* a [[buffer(0)]]) {
  a[0] = a[1] + a[2];
}
