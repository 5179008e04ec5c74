// expect: attempt to use a poisoned identifier
#include <metal_stdlib>
using namespace metal;

kernel void k(device int* a [[buffer(0)]]) {
  a[0] = std::abs(-1);
}
