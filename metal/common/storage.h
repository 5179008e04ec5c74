// Loads and stores of single elements whose type a function constant tells.
#pragma once

#include "common/arithmetic.h"
#include "params/function_constants.h"

/// Element `index` of an array of `type` (a KernelDType), as float32.
METAL_FUNC float load_element(device const uchar* array, long index, uint type) {
  if (type == kTypeFloat16) return float(((device const half*)array)[index]);
  if (type == kTypeBFloat16) return float(((device const bfloat*)array)[index]);
  return ((device const float*)array)[index];
}

METAL_FUNC void store_element(device uchar* array, long index, uint type, float value) {
  if (type == kTypeFloat16) {
    ((device half*)array)[index] = half(value);
  } else if (type == kTypeBFloat16) {
    ((device bfloat*)array)[index] = bfloat(value);
  } else {
    ((device float*)array)[index] = value;
  }
}
