// Keys and values of a launch whose K and V are both dense.
#pragma once

#include "common/attention_constants.h"
#include "common/dense_rows.h"

/// Elements that a lane takes of a row at a time: 16 bytes, or what its share of the dims allows.
template <typename T, int ROW_BLOCKS>
struct DenseSides {
  static constant constexpr int kWidest = 16 / int(sizeof(T));
  static constant constexpr int kKeyCount = kWidest < 16 / ROW_BLOCKS ? kWidest : 16 / ROW_BLOCKS;
  typedef DenseRows<T, kKeyCount> Keys;
  typedef DenseRows<T, kWidest> Values;

  Keys keys;
  Values values;
};

template <typename T, int ROW_BLOCKS>
METAL_FUNC DenseSides<T, ROW_BLOCKS> make_dense_sides(constant AttentionParams& params,
                                                      thread const AttentionCall& call, device const T* key,
                                                      device const T* value) {
  DenseSides<T, ROW_BLOCKS> sides;
  sides.keys.rows = key + head_offset(params.key_strides, call);
  sides.keys.stride = params.key_strides[2];
  sides.keys.dim = int(kHeadDim);
  sides.keys.wide = (kWideRows & 1) != 0;
  sides.values.rows = value + head_offset(params.value_strides, call);
  sides.values.stride = params.value_strides[2];
  sides.values.dim = int(kValueDim);
  sides.values.wide = (kWideRows & 2) != 0;
  return sides;
}
