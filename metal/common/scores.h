// What happens to a score between q.k and the softmax: softcap, ALiBi, mask and visibility.
#pragma once

#include "common/storage.h"
#include "common/visibility.h"

/// Arrays and switches that change scores; pointers of options that are off are null.
struct ScoreModifiers {
  uint mask_kind;  ///< a MaskKind
  bool has_softcap;
  bool has_alibi;
  device const uchar* mask;
  device const float* alibi_slopes;
};

/// A query row with what the modifiers need of it.
struct ScoredRow {
  QueryRow place;
  float slope;
  long mask_at;  ///< element of key 0
};

METAL_FUNC ScoredRow scored_row(thread const ScoreModifiers& modifiers, constant AttentionParams& params,
                                thread const QueryRow& place, int batch) {
  ScoredRow row;
  row.place = place;
  row.slope = modifiers.has_alibi && place.present ? modifiers.alibi_slopes[place.head] : 0.0f;
  row.mask_at = long(batch) * params.mask_strides[0] + long(place.head) * params.mask_strides[1] +
                long(place.row) * params.mask_strides[2];
  return row;
}

METAL_FUNC float masked(thread const ScoreModifiers& modifiers, float score, long at) {
  if (modifiers.mask_kind == kMaskBool) return modifiers.mask[at] != 0 ? score : -INFINITY;
  const uint type = modifiers.mask_kind == kMaskFloat16    ? uint(kTypeFloat16)
                    : modifiers.mask_kind == kMaskBFloat16 ? uint(kTypeBFloat16)
                                                           : uint(kTypeFloat32);
  return score + load_element(modifiers.mask, at, type);
}

/// The final score of a key; -inf where the row does not see it.
METAL_FUNC float finish_score(thread const ScoreModifiers& modifiers, constant AttentionParams& params,
                              thread const ScoredRow& row, float score, int key) {
  if (key < row.place.visible.begin || key >= row.place.visible.end) return -INFINITY;
  if (modifiers.has_softcap) score = params.softcap * precise::tanh(score / params.softcap);
  if (modifiers.has_alibi) score -= row.slope * float(row.place.position - key);
  if (modifiers.mask_kind != kMaskNone)
    score = masked(modifiers, score, row.mask_at + long(key) * params.mask_strides[3]);
  return score;
}
