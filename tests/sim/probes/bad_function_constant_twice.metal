// expect: function constant 0 is declared twice
#include <metal_stdlib>
using namespace metal;

constant bool first [[function_constant(0)]];
constant bool second [[function_constant(0)]];
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = first && second;
}
