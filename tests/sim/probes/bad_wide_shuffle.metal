// expect: simdgroup functions take 8, 16 and 32-bit integers, half and float
#include <metal_stdlib>
using namespace metal;

kernel void k(device ulong* a [[buffer(0)]]) {
  a[0] = simd_shuffle_xor(a[1], 1);
}
