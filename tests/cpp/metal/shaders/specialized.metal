// A test kernel with function constants.
#include <metal_stdlib>

#include "vector_params.h"
using namespace metal;

constant bool kHasBias [[function_constant(3)]];
constant uint kRepeat [[function_constant(0)]];

/// out = repeat * a, plus bias where the constant asks for it
[[kernel]] void repeated(device const float* a [[buffer(0)]], device float* out [[buffer(1)]],
                         device const float* bias [[buffer(2), function_constant(kHasBias)]],
                         constant VectorParams& params [[buffer(30)]], uint i [[thread_position_in_grid]]) {
  if (i >= params.count) return;
  float sum = 0.0f;
  for (uint r = 0; r < kRepeat; ++r) sum += a[i];
  if (kHasBias) sum += bias[i];
  out[i] = sum;
}
