#include "ops/attention_plan.h"

#include <algorithm>

#include "ops/attention_tuning.h"

namespace metalhead {

namespace {

// Shares per compute unit: enough that a late worker costs an eighth, few enough that joining them stays
// cheap.
constexpr int64_t kSharesPerUnit = 8;

// As many as flash_attn_vec_reduce has threadgroup memory for.
constexpr uint32_t kReduceSimdgroups = 4;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t choose_splits(const DeviceLimits& limits, const AttentionSizes& sizes) {
  if (sizes.longest_span < 2 * int64_t{limits.min_keys_per_split}) return 1;
  const int64_t shares = int64_t{limits.compute_units} * kSharesPerUnit;
  const int64_t keys_per_share =
      std::max<int64_t>(ceil_div(sizes.total_span * sizes.kv_heads, shares), limits.min_keys_per_split);
  return std::clamp<int64_t>(ceil_div(sizes.longest_span, keys_per_share), 1, kMaxSplits);
}

// Threadgroups of sdpa per compute unit, below which the work would not spread evenly.
constexpr int64_t kGroupsPerUnit = 4;
constexpr int64_t kLeastPrefillRows = 60;

/// As many rows as the device likes to share a tile of keys, halved until every compute unit has enough
/// groups.
int64_t prefill_rows(const DeviceLimits& limits, const AttentionSizes& sizes) {
  const int64_t all = sizes.query_heads / sizes.kv_heads * sizes.query_length;
  int64_t rows = limits.prefill_query_rows;
  while (rows / 2 >= kLeastPrefillRows &&
         sizes.batch * sizes.kv_heads * ceil_div(all, rows) < kGroupsPerUnit * limits.compute_units) {
    rows /= 2;
  }
  return rows;
}

bool is_gpu(const DeviceLimits& limits) { return limits.lanes > 1; }

void cut_threadgroups(const DeviceLimits& limits, const AttentionSizes& sizes, AttentionPlan& plan) {
  const int64_t wider = std::max(sizes.head_dim, sizes.value_dim);
  const int64_t rows = sizes.query_heads / sizes.kv_heads * sizes.query_length;
  const AttentionTuning tuning = plan.split_keys ? decode_tuning(rows, wider) : prefill_tuning(wider);
  plan.row_blocks = tuning.row_blocks;
  plan.key_groups = tuning.key_groups;
  plan.rows_per_group = static_cast<int>(tuned_rows(tuning));
  plan.threads = {limits.lanes * static_cast<uint32_t>(tuned_simdgroups(tuning, wider)), 1, 1};
  plan.threadgroup_bytes = tuned_threadgroup_bytes(tuning, wider);
}

}  // namespace

Size3 reduce_threads(const DeviceLimits& limits) {
  return {is_gpu(limits) ? limits.lanes * kReduceSimdgroups : 1, 1, 1};
}

AttentionPlan plan_attention(const DeviceLimits& limits, const AttentionSizes& sizes, int64_t splits) {
  AttentionPlan plan;
  plan.split_keys = sizes.query_length <= kMaxVecQueryLength;
  plan.rows_per_group = static_cast<int>(prefill_rows(limits, sizes));
  if (plan.split_keys) {
    const int64_t count = splits > 0 ? splits : choose_splits(limits, sizes);
    plan.splits = static_cast<int>(count);
    plan.keys_per_split = static_cast<int>(std::max<int64_t>(ceil_div(sizes.longest_span, count), 1));
  }
  if (is_gpu(limits)) cut_threadgroups(limits, sizes, plan);
  return plan;
}

}  // namespace metalhead
