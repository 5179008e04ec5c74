// expect: lambda expression
#include <metal_stdlib>
using namespace metal;

kernel void k(device int* a [[buffer(0)]]) {
  auto g = [&](int y) { return y + 1; };
  a[0] = g(1);
}
