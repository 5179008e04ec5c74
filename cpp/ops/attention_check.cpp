// The argument rules of attention: everything that can be wrong is found here, before anything is allocated.
#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "metal/params/attention_params.h"
#include "ops/attention.h"
#include "ops/attention_plan.h"
#include "ops/checks.h"
#include "ops/tq_attention.h"

namespace metalhead {

namespace {

constexpr int64_t kMinDim = 8;
constexpr int64_t kMaxDim = 576;
constexpr int64_t kMaxLength = METALHEAD_MAX_LENGTH;

struct Shape {
  int rank;
  int64_t batch, query_heads, kv_heads, query_length, kv_capacity, head_dim, value_dim;
};

int64_t dim_of(const Tensor& tensor, const PackedFormat& format) {
  return format.packed() ? format.dim : tensor.shape[static_cast<size_t>(tensor.rank - 1)];
}

void check_dim(const char* op, const char* word, int64_t dim) {
  if (dim < kMinDim || dim > kMaxDim) {
    throw ValueError(concat(op, ": ", word, " must be from ", kMinDim, " to ", kMaxDim, ", got ", dim));
  }
}

Shape check_shapes(const AttentionArguments& a) {
  const Tensor &q = a.query, &k = a.key, &v = a.value;
  if ((q.rank != 3 && q.rank != 4) || k.rank != q.rank || v.rank != q.rank) {
    throw ValueError(concat(a.op, ": q, k and v must all have rank 4 (or all rank 3, batch 1), got shapes ",
                            shape_text(q), ", ", shape_text(k), " and ", shape_text(v)));
  }
  const size_t b = q.rank == 4 ? 1 : 0;  // index of the head axis
  Shape s{q.rank,         b ? q.shape[0] : 1, q.shape[b],    k.shape[b],
          q.shape[b + 1], k.shape[b + 1],     dim_of(q, {}), dim_of(v, a.value_format)};
  const int64_t key_dim = dim_of(k, a.key_format);
  if (s.head_dim != key_dim) {
    throw ValueError(concat(a.op, ": q and k must share head_dim, got ", s.head_dim, " and ", key_dim));
  }
  check_dim(a.op, "head_dim", s.head_dim);
  check_dim(a.op, "value_dim", s.value_dim);
  if (b && (k.shape[0] != s.batch || v.shape[0] != s.batch)) {
    throw ValueError(
        concat(a.op, ": q, k and v must share batch, got ", s.batch, ", ", k.shape[0], " and ", v.shape[0]));
  }
  if (v.shape[b] != s.kv_heads) {
    throw ValueError(concat(a.op, ": k and v must share kv_heads, got ", s.kv_heads, " and ", v.shape[b]));
  }
  if (s.batch < 1 || s.query_heads < 1 || s.kv_heads < 1) {
    throw ValueError(concat(a.op, ": batch, query_heads and kv_heads must be at least 1, got ", s.batch, ", ",
                            s.query_heads, " and ", s.kv_heads));
  }
  if (s.query_heads % s.kv_heads != 0) {
    throw ValueError(concat(a.op, ": query_heads must be a multiple of kv_heads, got ", s.query_heads,
                            " and ", s.kv_heads));
  }
  if (v.shape[b + 1] != s.kv_capacity) {
    throw ValueError(
        concat(a.op, ": k and v must share their length, got ", s.kv_capacity, " and ", v.shape[b + 1]));
  }
  if (s.kv_capacity < 1 || s.kv_capacity > kMaxLength || s.query_length > kMaxLength) {
    throw ValueError(concat(a.op, ": kv_length must be from 1 to ", kMaxLength,
                            " and query_length at most as much, got ", s.kv_capacity, " and ",
                            s.query_length));
  }
  if (s.batch > kMaxLength || s.query_heads > 65535) {
    throw ValueError(concat(a.op, ": batch must be at most ", kMaxLength,
                            " and query_heads at most 65535, got ", s.batch, " and ", s.query_heads));
  }
  if (a.max_query_length > 0 && s.query_length > a.max_query_length) {
    throw ValueError(concat(a.op, ": query_length must be at most ", a.max_query_length, ", got ",
                            s.query_length, "; use sdpa for more rows"));
  }
  return s;
}

bool narrower_or_same(DType kv, DType q) { return kv == q || q == DType::kFloat32; }

void check_dtypes(const AttentionArguments& a) {
  if (!is_floating(a.query.dtype)) {
    throw TypeError(concat(a.op, ": q must be float32, float16 or bfloat16, got ", name_of(a.query.dtype)));
  }
  const bool key_wrong =
      !a.key_format.packed() && (!is_floating(a.key.dtype) || !narrower_or_same(a.key.dtype, a.query.dtype));
  const bool value_wrong = !a.value_format.packed() &&
                           (!is_floating(a.value.dtype) || !narrower_or_same(a.value.dtype, a.query.dtype));
  const bool sides_differ =
      !a.key_format.packed() && !a.value_format.packed() && a.key.dtype != a.value.dtype;
  if (key_wrong || value_wrong || sides_differ) {
    throw TypeError(
        concat(a.op, ": k and v must share q's dtype, or be float16 or bfloat16 under float32 q, got q ",
               name_of(a.query.dtype), ", k ", name_of(a.key.dtype), ", v ", name_of(a.value.dtype)));
  }
}

void check_numbers(const AttentionArguments& a) {
  if (a.scale && !std::isfinite(*a.scale)) {
    throw ValueError(concat(a.op, ": scale must be finite, got ", *a.scale));
  }
  if (!std::isfinite(a.softcap) || a.softcap < 0) {
    throw ValueError(concat(a.op, ": softcap must be finite and at least 0 (0 is off), got ", a.softcap));
  }
  if (a.window.left < -1 || a.window.right < -1) {
    throw ValueError(concat(a.op, ": window_size must be at least 0, or -1 for unbounded, got (",
                            a.window.left, ", ", a.window.right, ")"));
  }
  if (a.splits < 0 || a.splits > kMaxSplits) {
    throw ValueError(concat(a.op, ": splits must be from 1 to ", kMaxSplits, ", got ", a.splits));
  }
}

void check_mask(const AttentionArguments& a, const Shape& s, int64_t longest) {
  const Tensor& mask = a.mask;
  if (mask.dtype != DType::kBool && !is_floating(mask.dtype)) {
    throw TypeError(
        concat(a.op, ": mask must be bool, float32, float16 or bfloat16, got ", name_of(mask.dtype)));
  }
  const std::array<int64_t, 4> full{s.batch, s.query_heads, s.query_length, s.kv_capacity};
  bool fits = mask.rank <= 4;
  for (int axis = 0; fits && axis < mask.rank; ++axis) {
    const int target = 4 - mask.rank + axis;
    const int64_t size = mask.shape[static_cast<size_t>(axis)];
    fits = size == 1 || size == full[static_cast<size_t>(target)] || (target == 3 && size == longest);
  }
  if (!fits) {
    throw ValueError(concat(a.op, ": mask must broadcast to (", s.batch, ", ", s.query_heads, ", ",
                            s.query_length, ", ", longest, "), got shape ", shape_text(mask)));
  }
}

void check_per_head(const char* op, const char* word, const Tensor& tensor, int64_t query_heads) {
  if (tensor.rank != 1 || tensor.shape[0] != query_heads) {
    throw ValueError(concat(op, ": ", word, " must have shape (query_heads,) = (", query_heads, ",), got ",
                            shape_text(tensor)));
  }
}

/// Checks integers given for each sequence; `low` and `high` are inclusive.
void check_per_sequence(const char* op, const char* word, const Tensor& tensor, const Shape& s, int64_t low,
                        int64_t high) {
  if (tensor.rank != 1 || tensor.shape[0] != s.batch) {
    throw ValueError(
        concat(op, ": ", word, " must have shape (batch,) = (", s.batch, ",), got ", shape_text(tensor)));
  }
  const int32_t* values = tensor.data_as<int32_t>();
  for (int64_t i = 0; i < s.batch; ++i) {
    if (values[i] < low || values[i] > high) {
      throw ValueError(concat(op, ": ", word, " must be from ", low, " to ", high, ", got ", values[i],
                              " for sequence ", i));
    }
  }
}

}  // namespace

AttentionResultShape check_attention(const AttentionArguments& a) {
  if (a.key_format.packed() || a.value_format.packed()) check_packed_sides(a);
  const Shape s = check_shapes(a);
  check_dtypes(a);
  check_numbers(a);
  if (a.kv_lengths.defined()) check_per_sequence(a.op, "kv_lengths", a.kv_lengths, s, 1, s.kv_capacity);
  if (a.ring_starts.defined()) check_per_sequence(a.op, "ring_start", a.ring_starts, s, 0, s.kv_capacity - 1);
  if (a.ring_start < 0 || a.ring_start >= s.kv_capacity) {
    throw ValueError(
        concat(a.op, ": ring_start must be from 0 to ", s.kv_capacity - 1, ", got ", a.ring_start));
  }
  if (a.mask.defined()) {
    int64_t longest = s.kv_capacity;
    if (a.kv_lengths.defined()) {
      const int32_t* lengths = a.kv_lengths.data_as<int32_t>();
      longest = *std::max_element(lengths, lengths + s.batch);
    }
    check_mask(a, s, longest);
  }
  if (a.alibi_slopes.defined()) check_per_head(a.op, "alibi_slopes", a.alibi_slopes, s.query_heads);
  if (a.sinks.defined()) check_per_head(a.op, "sinks", a.sinks, s.query_heads);
  const bool batched = s.rank == 4;
  AttentionResultShape result;
  result.rank = s.rank;
  result.shape = batched ? std::array<int64_t, 4>{s.batch, s.query_heads, s.query_length, s.value_dim}
                         : std::array<int64_t, 4>{s.query_heads, s.query_length, s.value_dim, 0};
  return result;
}

void check_attention_out(const AttentionArguments& a, const AttentionResultShape& result) {
  check_out(a.op, a.out, {result.shape.data(), static_cast<size_t>(result.rank)});
  const std::pair<const char*, const Tensor*> inputs[] = {{"q", &a.query},
                                                          {"k", &a.key},
                                                          {"v", &a.value},
                                                          {"k's norms", &a.key_norms},
                                                          {"v's norms", &a.value_norms},
                                                          {"mask", &a.mask},
                                                          {"alibi_slopes", &a.alibi_slopes},
                                                          {"sinks", &a.sinks}};
  for (const auto& [word, tensor] : inputs) {
    if (tensor->defined() && overlaps(a.out, *tensor)) {
      throw ValueError(concat(a.op, ": out must not share memory with an input, but it overlaps ", word));
    }
  }
}

}  // namespace metalhead
