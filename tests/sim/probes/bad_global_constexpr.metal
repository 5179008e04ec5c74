// expect: program-scope variable 'g' outside the constant address space
#include <metal_stdlib>
using namespace metal;

constexpr int g = 3;
kernel void k(device int* a [[buffer(0)]]) {
  a[0] = g;
}
