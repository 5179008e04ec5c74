// How tq_encode, tq_decode and hadamard walk over their vectors, addressed as [outer, middle, rows].
//
// Grid: (ceil(rows / 64), middle, outer). A simdgroup takes one vector at a time.
#pragma once

#include "common/rotation.h"
#include "common/storage.h"
#include "params/codec_params.h"

#define METALHEAD_VECTORS_PER_GROUP 64

METAL_FUNC long vector_offset(constant metalhead_long* strides, uint3 place, int row) {
  return long(place.z) * strides[0] + long(place.y) * strides[1] + long(row) * strides[2];
}

/// The first row after those of this threadgroup.
METAL_FUNC int end_of_rows(constant CodecParams& params, uint3 place) {
  return min(params.rows, int(place.x + 1) * METALHEAD_VECTORS_PER_GROUP);
}

METAL_FUNC int first_row_of(uint3 place, uint simdgroup) {
  return int(place.x) * METALHEAD_VECTORS_PER_GROUP + int(simdgroup);
}

/// Reads a vector of `type`: coordinate j to values[j / 32] of lane j % 32.
METAL_FUNC void read_vector(thread float (&values)[METALHEAD_LANE_VALUES], int count,
                            device const uchar* input, long at, uint type, uint lane) {
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
    values[i] = i < count ? load_element(input, at + 32 * i + int(lane), type) : 0.0f;
  }
}
