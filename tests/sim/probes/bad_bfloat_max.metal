// expect: call to deleted function 'max'
#include <metal_stdlib>
using namespace metal;

kernel void k(device bfloat* a [[buffer(0)]]) {
  a[0] = max(a[1], a[2]);
}
