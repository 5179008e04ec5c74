// Turns one finished result (out, lse) into a partial one, so that flash_attn_vec_reduce can join it with
// others.
//
// Grid: (query_length, query_heads, batch).
#pragma once

#include "common/softmax.h"
#include "common/storage.h"
#include "params/attention_params.h"

constant uint kInputType [[function_constant(kConstantDType0)]];

[[kernel]] void store_partial(device const uchar* out [[buffer(kSlotOut)]],
                              device const float* lse [[buffer(kSlotLse)]],
                              device float* partial_out [[buffer(kSlotPartialOut)]],
                              device float* partial_stats [[buffer(kSlotPartialStats)]],
                              constant ReduceParams& params [[buffer(kSlotParams)]],
                              uint3 place [[threadgroup_position_in_grid]],
                              uint thread_index [[thread_index_in_threadgroup]],
                              uint threads [[threads_per_threadgroup]]) {
  const long index = (long(place.z) * params.query_heads + place.y) * params.query_length + place.x;
  const long slot = index * params.splits + params.split;
  const float maximum = lse[index];
  const bool empty = maximum == -INFINITY;
  if (thread_index == 0) {
    partial_stats[2 * slot] = maximum;
    partial_stats[2 * slot + 1] = empty ? 0.0f : 1.0f;
  }
  if (empty) return;
  const long at = long(place.z) * params.out_strides[0] + long(place.y) * params.out_strides[1] +
                  long(place.x) * params.out_strides[2];
  for (int j = int(thread_index); j < params.value_dim; j += int(threads)) {
    partial_out[slot * params.value_dim + j] = load_element(out, at + j, kInputType);
  }
}
