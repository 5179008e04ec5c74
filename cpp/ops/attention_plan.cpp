#include "ops/attention_plan.h"

#include <algorithm>

namespace metalhead {

namespace {

// Shares per compute unit: enough that a late worker costs an eighth, few enough that joining them stays
// cheap.
constexpr int64_t kSharesPerUnit = 8;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t choose_splits(const DeviceLimits& limits, const AttentionSizes& sizes) {
  if (sizes.longest_span < 2 * int64_t{limits.min_keys_per_split}) return 1;
  const int64_t shares = int64_t{limits.compute_units} * kSharesPerUnit;
  const int64_t keys_per_share =
      std::max<int64_t>(ceil_div(sizes.total_span * sizes.kv_heads, shares), limits.min_keys_per_split);
  return std::clamp<int64_t>(ceil_div(sizes.longest_span, keys_per_share), 1, kMaxSplits);
}

}  // namespace

Size3 reduce_threads(const DeviceLimits& limits) { return {limits.lanes, 1, 1}; }

AttentionPlan plan_attention(const DeviceLimits& limits, const AttentionSizes& sizes, int64_t splits) {
  AttentionPlan plan;
  plan.split_keys = sizes.query_length <= kMaxVecQueryLength;
  plan.rows_per_group = static_cast<int>(limits.prefill_query_rows);
  if (plan.split_keys) {
    const int64_t count = splits > 0 ? splits : choose_splits(limits, sizes);
    plan.splits = static_cast<int>(count);
    plan.keys_per_split = static_cast<int>(std::max<int64_t>(ceil_div(sizes.longest_span, count), 1));
  }
  return plan;
}

}  // namespace metalhead
