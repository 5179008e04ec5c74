// Keys and values of a launch in which K, V or both are packed.
#pragma once

#include "common/attention_constants.h"
#include "common/packed_rows.h"

constant uint kKeyBits [[function_constant(kConstantKeyBits)]];
constant uint kValueBits [[function_constant(kConstantValueBits)]];
constant uint kNormIsHalf [[function_constant(kConstantNormIsHalf)]];
constant bool kRotateQuery [[function_constant(kConstantRotateQuery)]];
constant bool kRotateOut [[function_constant(kConstantRotateOut)]];
constant uint kKeyType [[function_constant(kConstantDType1)]];
constant uint kValueType [[function_constant(kConstantDType2)]];
constant bool kHasKeyNorms = kKeyBits != 0;
constant bool kHasValueNorms = kValueBits != 0;

/// Arrays of a launch; norms of a dense side are null.
struct PackedArrays {
  device const uchar* keys;
  device const uchar* values;
  device const uchar* key_norms;
  device const uchar* value_norms;
  threadgroup const float2* key_table;
  threadgroup const float2* value_table;
};

template <int ROW_BLOCKS>
struct PackedSides {
  typedef PackedRows<16 / ROW_BLOCKS, 8> Keys;
  typedef PackedRows<32 / ROW_BLOCKS, 4> Values;
  Keys keys;
  Values values;
};

METAL_FUNC uint norm_type(uint bit) {
  return (kNormIsHalf & bit) != 0 ? uint(kTypeFloat16) : uint(kTypeFloat32);
}

/// Bytes of one element of a dense array.
METAL_FUNC long element_bytes(uint type) { return type == kTypeFloat32 ? 4 : 2; }

template <int ROW_BLOCKS>
METAL_FUNC PackedSides<ROW_BLOCKS> make_packed_sides(constant AttentionParams& params,
                                                     thread const AttentionCall& call,
                                                     thread const PackedArrays& arrays) {
  const long key_at = head_offset(params.key_strides, call),
             value_at = head_offset(params.value_strides, call);
  PackedSides<ROW_BLOCKS> sides;
  sides.keys.rows = arrays.keys + (kHasKeyNorms ? key_at : key_at * element_bytes(kKeyType));
  sides.keys.norms = arrays.key_norms + (kHasKeyNorms ? head_offset(params.key_norm_strides, call) : 0) *
                                            element_bytes(norm_type(1));
  sides.keys.table = arrays.key_table;
  sides.keys.stride = params.key_strides[2];
  sides.keys.norm_stride = params.key_norm_strides[2];
  sides.keys.norm_factor = 1.0f;
  sides.keys.dim = int(kHeadDim);
  sides.keys.bits = kKeyBits;
  sides.keys.type = kKeyType;
  sides.keys.norm_type = norm_type(1);
  sides.keys.wide = (kWideRows & 1) != 0;
  sides.values.rows = arrays.values + (kHasValueNorms ? value_at : value_at * element_bytes(kValueType));
  sides.values.norms =
      arrays.value_norms +
      (kHasValueNorms ? head_offset(params.value_norm_strides, call) : 0) * element_bytes(norm_type(2));
  sides.values.table = arrays.value_table;
  sides.values.stride = params.value_strides[2];
  sides.values.norm_stride = params.value_norm_strides[2];
  sides.values.norm_factor = kHasValueNorms ? rotation_factor(kValueDim) : 1.0f;
  sides.values.dim = int(kValueDim);
  sides.values.bits = kValueBits;
  sides.values.type = kValueType;
  sides.values.norm_type = norm_type(2);
  sides.values.wide = (kWideRows & 2) != 0;
  return sides;
}

/// What queries are multiplied by: the levels of keys are in units of norm / sqrt(D), and the norm comes
/// later.
METAL_FUNC float packed_scale(constant AttentionParams& params) {
  return kHasKeyNorms ? params.scale * rotation_factor(kHeadDim) : params.scale;
}

METAL_FUNC AttentionShape make_packed_shape() {
  AttentionShape shape = make_shape();
  shape.rotate_query = kRotateQuery;
  shape.rotate_out = kRotateOut;
  return shape;
}

/// A team whose columns end where runs of lanes do.
template <int ROW_BLOCKS>
METAL_FUNC Team make_packed_team(thread const AttentionShape& shape,
                                 thread const PackedSides<ROW_BLOCKS>& sides, uint simdgroups, uint simdgroup,
                                 uint lane) {
  return make_team<ROW_BLOCKS>(shape, 8 * sides.keys.count(), 4 * sides.values.count(), simdgroups, simdgroup,
                               lane);
}
