// The attention operation: checks arguments, plans the work and issues the launches for dense and packed
// caches.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "core/device.h"
#include "core/tensor.h"

namespace metalhead {

/// How packed keys or values are stored; `bits` is 0 for a dense tensor.
struct PackedFormat {
  int bits = 0;
  int dim = 0;                       ///< coordinates of one vector
  std::array<uint32_t, 16> signs{};  ///< bit j set: coordinate j is negated before the transform
  bool packed() const { return bits != 0; }
};

/// Inclusive distances to the left and right of a query's position; -1 is unbounded.
struct WindowSize {
  int64_t left = -1;
  int64_t right = -1;
};

/// One call. Tensors that are not given stay undefined. Shapes as in SEMANTICS: q [B, Hq, Lq, D], k [B, Hkv,
/// Lk, D], v [B, Hkv, Lk, Dv], all of rank 4 or all of rank 3 (batch 1).
struct AttentionArguments {
  const char* op = "sdpa";
  Tensor query, key, value;
  Tensor key_norms, value_norms;  ///< [B, Hkv, Lk]; of packed sides only
  PackedFormat key_format, value_format;
  std::optional<double> scale;  ///< 1/sqrt(D) if not given
  bool causal = true;
  WindowSize window;
  double softcap = 0.0;
  Tensor mask;          ///< bool or floating, broadcasts to [B, Hq, Lq, Lk]
  Tensor alibi_slopes;  ///< float32 [Hq]
  Tensor sinks;         ///< float32 [Hq]
  Tensor kv_lengths;    ///< int32 [B], in host memory
  Tensor ring_starts;   ///< int32 [B], in host memory
  int64_t ring_start = 0;
  int64_t splits = 0;            ///< 0 lets the planner choose
  int64_t max_query_length = 0;  ///< 0: any; else more rows are an error of this op
  bool rotated = false;          ///< q comes rotated and the output stays rotated
  Tensor out;                    ///< [B, Hq, Lq, Dv], rank of q
  Tensor lse;                    ///< float32 [B, Hq, Lq] contiguous, or undefined
};

/// What the result looks like: shape and rank of `out`.
struct AttentionResultShape {
  int rank = 4;
  std::array<int64_t, 4> shape{};
};

/// Checks everything but `out` and `lse`; throws ValueError or TypeError. Allocates nothing.
AttentionResultShape check_attention(const AttentionArguments& arguments);

/// Checks `out`: shape, floating dtype, layout, and that it overlaps no input.
void check_attention_out(const AttentionArguments& arguments, const AttentionResultShape& result);

/// About how many multiply-adds the call takes.
uint64_t attention_cost(const AttentionArguments& arguments);

/// Issues the launches. The arguments must have passed both checks.
void run_attention(Device& device, const AttentionArguments& arguments);

}  // namespace metalhead
