// expect: <metal_stdlib> is not included
using namespace metal;

kernel void k(device float* a [[buffer(0)]]) {
  a[0] = 1;
}
