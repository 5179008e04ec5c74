// expect: 'causal' is a function constant: its name cannot be reused
#include <metal_stdlib>
using namespace metal;

constant bool causal [[function_constant(0)]];
inline float f(bool causal) { return causal ? 1 : 0; }
kernel void k(device float* a [[buffer(0)]]) {
  a[0] = f(causal);
}
