// Online softmax: running maxima and sums of rows, how they are joined, and how a row ends.
#pragma once

#include "common/arithmetic.h"

#define METALHEAD_LOG2_E 1.44269504088896341f

/// Running maximum of a row's scores, and the sum of exp(score - maximum).
struct RowStats {
  float maximum;
  float sum;
};

/// exp(score - maximum) for score <= maximum; 0 where both are -inf.
METAL_FUNC float weight_of(float score, float maximum) {
  const float base = maximum == -INFINITY ? 0.0f : maximum;
  return exp2((score - base) * METALHEAD_LOG2_E);
}

METAL_FUNC RowStats no_keys() {
  RowStats stats;
  stats.maximum = -INFINITY;
  stats.sum = 0.0f;
  return stats;
}

/// Stats of the union of two disjoint sets of keys.
METAL_FUNC RowStats join(thread const RowStats& a, thread const RowStats& b) {
  RowStats both;
  both.maximum = max(a.maximum, b.maximum);
  both.sum = a.sum * weight_of(a.maximum, both.maximum) + b.sum * weight_of(b.maximum, both.maximum);
  return both;
}

/// What a finished row is multiplied by, and its log-sum-exp.
struct RowEnd {
  float factor;  ///< 0 if the row saw no key
  float lse;
};

METAL_FUNC RowEnd end_of_row(thread const RowStats& stats) {
  RowEnd end;
  end.factor = stats.sum == 0.0f ? 0.0f : 1.0f / stats.sum;
  end.lse = stats.sum == 0.0f ? -INFINITY : stats.maximum + precise::log(stats.sum);
  return end;
}

/// The same for a head with a sink, which takes weight and gives no value.
METAL_FUNC RowEnd end_of_row(thread const RowStats& stats, float sink) {
  RowEnd end = end_of_row(stats);
  if (stats.sum == 0.0f) return end;
  const float top = max(stats.maximum, sink);
  const float shrink = weight_of(stats.maximum, top);
  end.factor = shrink / (stats.sum * shrink + weight_of(sink, top));
  return end;
}
