// What happens to one row of scores: softcap, ALiBi, mask, visibility, online softmax, and the end of the
// row.
#pragma once

#include <math.h>

#include "devices/cpu/kernels/exponential.h"
#include "devices/cpu/kernels/gemm_tile.h"
#include "devices/cpu/kernels/reduce_rows.h"
#include "devices/cpu/kernels/row_storage.h"
#include "devices/cpu/kernels/tq_rotation.h"
#include "devices/cpu/kernels/visibility.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

constexpr float kMinusInfinity = -__builtin_inff();

/// Running maximum of a row's scores, and the sum of exp(score - maximum).
struct RowStats {
  float maximum = kMinusInfinity;
  float sum = 0.0f;
};

/// One query row of one head.
struct QueryRow {
  int64_t batch, head, row;
  int64_t position;
  KeyRange visible;
};

METALHEAD_INLINE QueryRow query_row_at(const AttentionView& view, const Sequence& sequence, int64_t head,
                                       int64_t row) {
  return {sequence.batch, head, row, position_of(*view.params, sequence, row),
          visible_keys(*view.params, sequence, row)};
}

/// Row r of the rows of all query heads that share a KV head: neighbours share a position.
METALHEAD_INLINE QueryRow query_row_of(const AttentionView& view, const Sequence& sequence, int64_t kv_head,
                                       int64_t r) {
  return query_row_at(view, sequence, kv_head * view.group + r % view.group, r / view.group);
}

METALHEAD_INLINE const char* query_address(const AttentionView& view, const QueryRow& row) {
  const metalhead_long* strides = view.params->query_strides;
  const int64_t offset = row.batch * strides[0] + row.head * strides[1] + row.row * strides[2];
  return view.query + offset * element_bytes(view.query_dtype);
}

/// Place of a row in contiguous [batch, query_heads, query_length] arrays.
METALHEAD_INLINE int64_t contiguous_index(const AttentionView& view, const QueryRow& row) {
  return (row.batch * view.params->query_heads + row.head) * view.params->query_length + row.row;
}

METALHEAD_INLINE void apply_softcap(float* scores, int begin, int end, float softcap) {
  const F32 cap = splat(softcap), inverse = splat(1.0f / softcap);
  for (int i = begin; i < end; i += kLanes) store(scores + i, cap * tanh(load(scores + i) * inverse));
}

METALHEAD_INLINE void apply_alibi(float* scores, int begin, int end, float slope, int64_t distance) {
  for (int i = begin; i < end; i += kLanes) {
    const I32 offsets = iota() + splat(static_cast<int32_t>(distance + i));
    store(scores + i, fma(to_float(offsets), splat(slope), load(scores + i)));
  }
}

template <class T>
METALHEAD_INLINE void add_mask(float* scores, int begin, int end, const T* mask, int64_t stride) {
  int i = begin;
  if (stride == 1) {
    for (; i + kLanes <= end; i += kLanes) store(scores + i, load(scores + i) + load(mask + i));
  }
  for (; i < end; ++i) scores[i] += to_float(mask[i * stride]);
}

METALHEAD_INLINE void drop_masked(float* scores, int begin, int end, const uint8_t* mask, int64_t stride) {
  int i = begin;
  if (stride == 1) {
    for (; i + kLanes <= end; i += kLanes) {
      store(scores + i, select_bytes(mask + i, load(scores + i), splat(kMinusInfinity)));
    }
  }
  for (; i < end; ++i) scores[i] = mask[i * stride] != 0 ? scores[i] : kMinusInfinity;
}

METALHEAD_INLINE void apply_mask(const AttentionView& view, const QueryRow& row, float* scores, int begin,
                                 int end, int64_t first_key) {
  const metalhead_long* strides = view.params->mask_strides;
  const int64_t stride = strides[3];
  const int64_t at =
      row.batch * strides[0] + row.head * strides[1] + row.row * strides[2] + first_key * stride;
  switch (view.mask_kind) {
    case kMaskBool:
      return drop_masked(scores, begin, end, reinterpret_cast<const uint8_t*>(view.mask) + at, stride);
    case kMaskFloat32:
      return add_mask(scores, begin, end, reinterpret_cast<const float*>(view.mask) + at, stride);
    case kMaskFloat16:
      return add_mask(scores, begin, end, reinterpret_cast<const Float16*>(view.mask) + at, stride);
    default:
      return add_mask(scores, begin, end, reinterpret_cast<const BFloat16*>(view.mask) + at, stride);
  }
}

/// Turns scale * q.k of the keys first_key + [begin, end) into final scores; -inf where a key is not visible,
/// up to the next multiple of kLanes after `end`. `begin` is a multiple of kLanes.
METALHEAD_INLINE void finish_scores(const AttentionView& view, const QueryRow& row, float* scores, int begin,
                                    int end, int64_t first_key) {
  if (view.has_softcap) apply_softcap(scores, begin, end, view.params->softcap);
  if (view.alibi_slopes != nullptr) {
    apply_alibi(scores, begin, end, view.alibi_slopes[row.head], first_key - row.position);
  }
  const int64_t from = row.visible.begin - first_key;
  const int64_t to = smaller(row.visible.end - first_key, end);
  if (view.mask != nullptr) {
    const int low = static_cast<int>(larger(begin, from / kLanes * kLanes));
    if (low < to) apply_mask(view, row, scores, low, static_cast<int>(to), first_key);
  }
  if (from > begin || to < round_up(end, kLanes)) {
    for (int i = begin; i < end; i += kLanes) {
      if (from <= i && i + kLanes <= to) continue;
      store(scores + i, select_range(load(scores + i), from - i, to - i, splat(kMinusInfinity)));
    }
  }
}

/// True if finish_scores has nothing to do but to hide keys.
METALHEAD_INLINE bool has_plain_scores(const AttentionView& view) {
  return !view.has_softcap && view.alibi_slopes == nullptr && view.mask == nullptr;
}

/// What softmax_step does with weights: stores kCount vectors of them from number `at` of `row` on.
struct StoreWeights {
  template <int kCount>
  METALHEAD_INLINE void operator()(const F32 (&weights)[kCount], float* row, int at) const {
    METALHEAD_UNROLL
    for (int i = 0; i < kCount; ++i) store(row + at + i * kLanes, weights[i]);
  }
};

/// The same, times the factors of their keys.
struct StoreScaledWeights {
  const float* factors;

  template <int kCount>
  METALHEAD_INLINE void operator()(const F32 (&weights)[kCount], float* row, int at) const {
    METALHEAD_UNROLL
    for (int i = 0; i < kCount; ++i)
      store(row + at + i * kLanes, weights[i] * load(factors + at + i * kLanes));
  }
};

/// Puts exp(score - base) for kCount vectors of scores from number `at` of `row` on; returns `sum` plus
/// these.
template <int kCount, class Put>
METALHEAD_INLINE F32 exp_less(float* row, int at, F32 base, F32 sum, const Put& put) {
  F32 weights[kCount];
  METALHEAD_UNROLL
  for (int i = 0; i < kCount; ++i) weights[i] = load(row + at + i * kLanes) - base;
  exp_each(weights);
  METALHEAD_UNROLL
  for (int i = 0; i < kCount; ++i) sum = sum + weights[i];
  put(weights, row, at);
  return sum;
}

/// The largest of scores [begin, end), rounded up to kLanes, of rows [first, last) of up to kRows; -inf in
/// the other ones' lanes.
template <int kRows>
METALHEAD_INLINE F32 largest_scores(const float* scores, int64_t stride, int first, int last, int begin,
                                    int end) {
  F32 tops[kRows];
  METALHEAD_UNROLL
  for (int r = 0; r < kRows; ++r) tops[r] = splat(kMinusInfinity);
  METALHEAD_UNROLL
  for (int r = 0; r < kRows; ++r) {
    if (r < first || r >= last) continue;
    F32 top = load(scores + r * stride + begin);
    for (int i = begin + kLanes; i < end; i += kLanes) top = max(top, load(scores + r * stride + i));
    tops[r] = top;
  }
  return reduce_max_rows(tops);
}

template <int kRows, class Put>
METALHEAD_INLINE void softmax_rows(float* scores, int64_t stride, int rows, int begin, int end, float* maxima,
                                   float* sums, float* shrink, const Put& put) {
  const F32 before = load(maxima);
  const F32 now = max(before, largest_scores<kRows>(scores, stride, 0, rows, begin, end));
  // A row without any key so far keeps the maximum -inf; its weights must become 0, not NaN.
  const F32 base = select_less(splat(kMinusInfinity), now, now, zero());
  const F32 factor = exp(before - base);
  alignas(64) float bases[kLanes];
  store(bases, base);
  F32 added[kRows];
  METALHEAD_UNROLL
  for (int r = 0; r < kRows; ++r) added[r] = zero();
  for (int r = 0; r < rows; ++r) {
    float* row = scores + r * stride;
    const F32 row_base = splat(bases[r]);
    F32 sum = zero();
    int i = begin;
    for (; i + (kExpVectors - 1) * kLanes < end; i += kExpVectors * kLanes) {
      sum = exp_less<kExpVectors>(row, i, row_base, sum, put);
    }
    for (; i + kLanes < end; i += 2 * kLanes) sum = exp_less<2>(row, i, row_base, sum, put);
    if (i < end) sum = exp_less<1>(row, i, row_base, sum, put);
    added[r] = sum;
  }
  store(sums, fma(load(sums), factor, reduce_add_rows(added)));
  store(maxima, now);
  store(shrink, factor);
}

/// One step of the online softmax for up to kLanes rows: scores [begin, end), rounded up to kLanes, become
/// weights exp(score - maximum) under each row's new maximum, which `put` stores. `maxima`, `sums` and
/// `shrink` hold kLanes rows; `shrink` becomes the factor by which what a row has summed up before must
/// shrink.
template <class Put>
METALHEAD_INLINE void softmax_step(float* scores, int64_t stride, int rows, int begin, int end, float* maxima,
                                   float* sums, float* shrink, const Put& put) {
  if constexpr (kLanes > 4) {
    if (rows <= 4) return softmax_rows<4>(scores, stride, rows, begin, end, maxima, sums, shrink, put);
  }
  softmax_rows<kLanes>(scores, stride, rows, begin, end, maxima, sums, shrink, put);
}

/// What a finished row is multiplied by, and its log-sum-exp.
struct RowEnd {
  float factor;  ///< 0 if the row saw no key
  float lse;
};

/// `sink` points to the head's sink, or is nullptr.
METALHEAD_INLINE RowEnd end_of_row(RowStats stats, const float* sink) {
  if (stats.sum == 0.0f) return {0.0f, kMinusInfinity};
  const float lse = stats.maximum + logf(stats.sum);
  if (sink == nullptr) return {1.0f / stats.sum, lse};
  const float top = *sink > stats.maximum ? *sink : stats.maximum;
  const float shrink = first_lane(exp(splat(stats.maximum - top)));
  return {shrink / (stats.sum * shrink + first_lane(exp(splat(*sink - top)))), lse};
}

METALHEAD_INLINE char* out_address(const AttentionView& view, const QueryRow& row) {
  const metalhead_long* strides = view.params->out_strides;
  const int64_t offset = row.batch * strides[0] + row.head * strides[1] + row.row * strides[2];
  return view.out + offset * element_bytes(view.out_dtype);
}

/// Writes the row's output, normalised, and its log-sum-exp if wanted.
METALHEAD_INLINE void write_rotated_row(const AttentionView& view, const QueryRow& row, const float* sums,
                                        RowStats stats) {
  const RowEnd end = end_of_row(stats, view.sinks == nullptr ? nullptr : view.sinks + row.head);
  if (stats.sum == 0.0f) {
    store_zero_row(out_address(view, row), view.out_dtype, view.params->value_dim);
  } else {
    store_row(out_address(view, row), view.out_dtype, sums, view.params->value_dim, end.factor);
  }
  if (view.lse != nullptr) view.lse[contiguous_index(view, row)] = end.lse;
}

/// The same; `sums` is scratch: it is rotated in place where the values are packed.
METALHEAD_INLINE void write_row(const AttentionView& view, const QueryRow& row, float* sums, RowStats stats) {
  if (view.rotate_out && stats.sum != 0.0f) {
    hadamard_row(sums, view.params->value_dim, view.params->value_signs, true);
  }
  write_rotated_row(view, row, sums, stats);
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
