// expect: simdgroup matrices are 8x8
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* a [[buffer(0)]]) {
  simdgroup_matrix<float, 16, 16> m;
  a[0] = m.thread_elements()[0];
}
