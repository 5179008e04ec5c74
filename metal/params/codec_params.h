// What the TurboQuant codec's kernels need to know about one call; shared by shaders and host.
#pragma once

#include "types.h"

/// Vectors are addressed as [outer, middle, rows]; strides count elements of the array they belong to.
struct CodecParams {
  metalhead_int outer;
  metalhead_int middle;
  metalhead_int rows;
  metalhead_int head_dim;
  metalhead_long input_strides[3];
  metalhead_long output_strides[3];
  metalhead_long code_strides[3];  ///< bytes
  metalhead_long norm_strides[3];
  metalhead_uint signs[16];  ///< bit j set: coordinate j is negated before the Walsh-Hadamard transform
};

METALHEAD_STATIC_ASSERT(sizeof(CodecParams) == 4 * 4 + 12 * 8 + 16 * 4);
