// expect: pointer or reference 'p' without an address space
#include <metal_stdlib>
using namespace metal;

struct Holder {
  float* p;
};
kernel void k(device float* a [[buffer(0)]]) {
  float t = 2;
  Holder h = {&t};
  a[0] = *h.p;
}
