// expect: names unknown kernel 'g'
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* a [[buffer(0)]]) {
  a[0] = 1;
}
template [[host_name("g")]] [[kernel]] decltype(g<float>) g<float>;
