// Packs vectors by the TurboQuant codec: rotation, norm, nearest levels, planes of bits.
#pragma once

#include "common/planes.h"
#include "common/quantise.h"
#include "common/vector_kernels.h"

constant uint kBits [[function_constant(kConstantBits)]];
constant uint kNormKind [[function_constant(kConstantNormKind)]];
constant uint kSearchSteps [[function_constant(kConstantSearchSteps)]];
constant uint kInputType [[function_constant(kConstantDType0)]];
constant uint kNormType [[function_constant(kConstantDType1)]];

/// Norms from here on round to infinity in float16.
#define METALHEAD_FLOAT16_OVERFLOW 65520.0f

/// What a vector's first steps found.
struct ScaledVector {
  bool finite;
  bool zero;
  int exponent;  ///< the vector in registers is y times 2^-exponent
};

METAL_FUNC float largest_magnitude(thread const float (&values)[METALHEAD_LANE_VALUES]) {
  float largest = 0.0f;
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) largest = max(largest, fabs(values[i]));
  return simd_max(largest);
}

METAL_FUNC bool all_finite(thread const float (&values)[METALHEAD_LANE_VALUES]) {
  bool finite = true;
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) finite =
      finite && exponent_field(values[i]) != 255;
  return simd_all(finite);
}

/// Signs, an exact scaling by a power of two and the transform, in place.
METAL_FUNC ScaledVector rotate_input(thread float (&values)[METALHEAD_LANE_VALUES], int count,
                                     constant CodecParams& params, uint lane) {
  ScaledVector vector;
  vector.finite = all_finite(values);
  vector.zero = false;
  vector.exponent = 0;
  if (!vector.finite) return vector;
  float largest = largest_magnitude(values);
  int lift = 0;
  if (exponent_field(largest) < METALHEAD_TINY_EXPONENT) {
    METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) values[i] = lift_tiny(values[i]);
    // A maximum may lose denormal numbers: it is taken again where there are none.
    largest = largest_magnitude(values);
    vector.zero = largest == 0.0f;
    if (vector.zero) return vector;
    lift = METALHEAD_TINY_SHIFT;
  }
  const int exponent = METALHEAD_TARGET_EXPONENT - exponent_field(largest);
  const float factor = power_of_two(exponent);
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
    const float scaled = values[i] * factor;
    values[i] = fabs(scaled) < METALHEAD_NEGLIGIBLE ? 0.0f : scaled;
  }
  apply_signs(values, count, params.signs, lane);
  walsh_hadamard(values, count, lane);
  vector.exponent = -exponent - lift;
  return vector;
}

METAL_FUNC void pack_codes(thread const uint (&codes)[METALHEAD_LANE_VALUES], int count, device uchar* packed,
                           uint lane) {
  const uint high = high_width(kBits), low = low_width(kBits);
  METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) {
    if (i >= count) continue;
    pack_lanes(packed + uint(4 * i) * high, codes[i] >> low, high, lane);
    if (low != 0)
      pack_lanes(packed + uint(4 * count) * high + uint(4 * i) * low, codes[i] & ((1u << low) - 1u), low,
                 lane);
  }
}

/// The number that is stored, still to be multiplied by 2^exponent.
METAL_FUNC float stored_norm(thread const Fit& fit, float sum, float rms, float largest) {
  if (kNormKind == kNormCorrected) return exact_sqrt(exact_quotient(sum, fit.square));
  if (kNormKind == kNormUnbiased) return exact_quotient(sum, fit.along);
  return kBits == 8 ? exact_quotient(largest, 127.0f) : rms;
}

/// Packs one rotated vector and sets its norm; returns the bits of CodecStatus that apply.
METAL_FUNC int encode_vector(thread const float (&y)[METALHEAD_LANE_VALUES], int count,
                             thread const ScaledVector& vector, device uchar* packed, uint lane,
                             thread float& norm) {
  norm = 0.0f;
  if (!vector.finite) return kStatusNotFinite;
  if (vector.zero) {
    uint codes[METALHEAD_LANE_VALUES];
    METALHEAD_UNROLL for (int i = 0; i < METALHEAD_LANE_VALUES; ++i) codes[i] =
        kBits == 8 ? 128u : (1u << (kBits - 1)) - 1u;
    pack_codes(codes, count, packed, lane);
    return 0;
  }
  const float sum = sum_of_squares(y, count);
  const float rms = exact_sqrt(sum * as_type<float>((127u - ctz(uint(32 * count))) << 23));
  const float largest = kBits == 8 ? largest_magnitude(y) : 0.0f;
  const Codes codes = choose_codes(y, count, kBits, rms, largest, kSearchSteps);
  pack_codes(codes.values, count, packed, lane);
  norm = scale_by_power(stored_norm(codes.fit, sum, rms, largest), vector.exponent);
  if (exponent_field(norm) == 255) return kStatusNotFinite;
  return kNormType == kTypeFloat16 && norm >= METALHEAD_FLOAT16_OVERFLOW ? kStatusNormOverflow : 0;
}

[[kernel]] void tq_encode(
    device const uchar* input [[buffer(kSlotInput)]], device uchar* codes [[buffer(kSlotCodes)]],
    device uchar* norms [[buffer(kSlotNorms)]], device atomic_int* status [[buffer(kSlotStatus)]],
    constant CodecParams& params [[buffer(kSlotParams)]], uint3 place [[threadgroup_position_in_grid]],
    uint simdgroups [[simdgroups_per_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  const int count = params.head_dim / 32;
  for (int row = first_row_of(place, simdgroup); row < end_of_rows(params, place); row += int(simdgroups)) {
    float values[METALHEAD_LANE_VALUES];
    read_vector(values, count, input, vector_offset(params.input_strides, place, row), kInputType, lane);
    const ScaledVector vector = rotate_input(values, count, params, lane);
    float norm;
    const int found = encode_vector(values, count, vector,
                                    codes + vector_offset(params.code_strides, place, row), lane, norm);
    if (lane != 0) continue;
    store_element(norms, vector_offset(params.norm_strides, place, row), kNormType, norm);
    if (found != 0) atomic_fetch_or_explicit(status, found, memory_order_relaxed);
  }
}
