// The standalone signed Walsh-Hadamard rotation of vectors, and its inverse.
#pragma once

#include "common/vector_kernels.h"

constant bool kInverse [[function_constant(kConstantInverse)]];
constant uint kInputType [[function_constant(kConstantDType0)]];
constant uint kOutputType [[function_constant(kConstantDType1)]];

[[kernel]] void hadamard(device const uchar* input [[buffer(kSlotInput)]],
                         device uchar* output [[buffer(kSlotOutput)]],
                         constant CodecParams& params [[buffer(kSlotParams)]],
                         uint3 place [[threadgroup_position_in_grid]],
                         uint simdgroups [[simdgroups_per_threadgroup]],
                         uint simdgroup [[simdgroup_index_in_threadgroup]],
                         uint lane [[thread_index_in_simdgroup]]) {
  const int count = params.head_dim / 32;
  const float factor = rotation_factor(uint(params.head_dim));
  for (int row = first_row_of(place, simdgroup); row < end_of_rows(params, place); row += int(simdgroups)) {
    float values[METALHEAD_LANE_VALUES];
    read_vector(values, count, input, vector_offset(params.input_strides, place, row), kInputType, lane);
    if (!kInverse) apply_signs(values, count, params.signs, lane);
    walsh_hadamard(values, count, lane);
    METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) values[i] *= factor;
    if (kInverse) apply_signs(values, count, params.signs, lane);
    const long to = vector_offset(params.output_strides, place, row);
    METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
      if (i < count) store_element(output, to + 32 * i + int(lane), kOutputType, values[i]);
    }
  }
}
