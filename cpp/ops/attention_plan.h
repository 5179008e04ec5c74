// Decides how the work of one attention call is cut into threadgroups.
#pragma once

#include <cstdint>

#include "core/device.h"
#include "core/launch.h"

namespace metalhead {

/// Sizes that the plan depends on.
struct AttentionSizes {
  int64_t batch = 0;
  int64_t query_heads = 0;
  int64_t kv_heads = 0;
  int64_t query_length = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;
  int64_t longest_span = 0;  ///< most keys that the rows of one sequence see together
  int64_t total_span = 0;    ///< the same, summed over the sequences
  bool packed = false;
};

struct AttentionPlan {
  bool split_keys = false;  ///< `flash_attn_vec` and, with more than one split, its reduce; else `sdpa`
  int splits = 1;
  int keys_per_split = 0;
  int rows_per_group = 0;
  Size3 threads;  ///< of one threadgroup
  uint32_t threadgroup_bytes = 0;
  int row_blocks = 0;  ///< GPUs alone, as in AttentionTuning
  int key_groups = 0;
};

/// Query rows up to which the keys are split over workers.
constexpr int64_t kMaxVecQueryLength = 16;
constexpr int64_t kMaxSplits = 1024;

/// Threads of one threadgroup of `flash_attn_vec_reduce` and `store_partial`, which handles one output row.
Size3 reduce_threads(const DeviceLimits& limits);

/// `splits` 0 lets the planner choose: enough equal shares of keys to keep every compute unit busy, none too
/// small.
AttentionPlan plan_attention(const DeviceLimits& limits, const AttentionSizes& sizes, int64_t splits);

}  // namespace metalhead
