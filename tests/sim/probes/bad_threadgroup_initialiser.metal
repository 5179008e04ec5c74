// expect: a threadgroup variable cannot have an initialiser
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* a [[buffer(0)]]) {
  threadgroup float t[2] = {1, 2};
  a[0] = t[0];
}
