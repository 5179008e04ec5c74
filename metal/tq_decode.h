// Turns packed TurboQuant vectors back into numbers, in the original or the rotated basis.
#pragma once

#include "common/levels.h"
#include "common/planes.h"
#include "common/vector_kernels.h"

constant uint kBits [[function_constant(kConstantBits)]];
constant bool kInverse [[function_constant(kConstantInverse)]];
constant uint kOutputType [[function_constant(kConstantDType0)]];
constant uint kNormType [[function_constant(kConstantDType1)]];

[[kernel]] void tq_decode(
    device uchar* output [[buffer(kSlotOutput)]], device const uchar* codes [[buffer(kSlotCodes)]],
    device const uchar* norms [[buffer(kSlotNorms)]], constant CodecParams& params [[buffer(kSlotParams)]],
    uint3 place [[threadgroup_position_in_grid]], uint simdgroups [[simdgroups_per_threadgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  const int dim = params.head_dim, count = dim / 32;
  const float root = rotation_factor(uint(dim));
  for (int row = first_row_of(place, simdgroup); row < end_of_rows(params, place); row += int(simdgroups)) {
    device const uchar* packed = codes + vector_offset(params.code_strides, place, row);
    const float norm = load_element(norms, vector_offset(params.norm_strides, place, row), kNormType);
    float values[METALHEAD_LANE_VALUES];
    METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
      values[i] = i < count ? level_of(packed_code(packed, 32 * i + int(lane), dim, kBits), kBits) : 0.0f;
    }
    if (kInverse) walsh_hadamard(values, count, lane);
    const float scale = kInverse ? norm / float(dim) : norm * root;
    METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) values[i] *= scale;
    if (kInverse) apply_signs(values, count, params.signs, lane);
    const long to = vector_offset(params.output_strides, place, row);
    METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
      if (i < count) store_element(output, to + 32 * i + int(lane), kOutputType, values[i]);
    }
  }
}
