// Floating-point rules of every kernel: infinities count, and nothing is reordered. Builds add -fno-fast-math
// as well.
#pragma once

#include <metal_stdlib>

#include "params/types.h"

using namespace metal;

#pragma METAL fp math_mode(safe)

/// A loop whose trip count is known to the compiler: arrays that it indexes then live in registers.
#ifndef METALHEAD_UNROLL
#define METALHEAD_UNROLL _Pragma("clang loop unroll(full)")
#endif
