// Which keys a query row may see, and where they lie: the one place in the shaders that knows causality,
// windows and rings.
#pragma once

#include "common/arithmetic.h"
#include "params/attention_params.h"

/// The keys of one sequence: how many, and where the oldest one lies.
struct Sequence {
  int kv_length;
  int ring_start;  ///< 0 unless the rows wrap
  int wrap;        ///< physical rows after which the ring starts over
};

/// Keys [begin, end) in chronological order; empty if end <= begin.
struct KeyRange {
  int begin;
  int end;
};

/// One query row of one head, among the rows of all heads that share a KV head.
struct QueryRow {
  bool present;  ///< false past the last row
  int head;
  int row;
  int position;
  KeyRange visible;
};

METAL_FUNC int physical_row(thread const Sequence& sequence, int key) {
  const int row = sequence.ring_start + key;
  return row >= sequence.wrap ? row - sequence.wrap : row;
}

/// Keys that some row of [first_row, last_row] sees: both ends grow with the row.
METAL_FUNC KeyRange visible_keys(constant AttentionParams& params, thread const Sequence& sequence,
                                 int first_row, int last_row) {
  const int offset = sequence.kv_length - params.query_length;
  KeyRange range;
  range.begin = max(0, offset + first_row - params.window_left);
  range.end = min(sequence.kv_length, offset + last_row + params.window_right + 1);
  return range;
}

/// Row r of the rows of one KV head: neighbours share a position. A row that is not there sees no key.
METAL_FUNC QueryRow query_row(constant AttentionParams& params, thread const Sequence& sequence, int kv_head,
                              long r) {
  const int group = params.query_heads / params.kv_heads;
  QueryRow place;
  place.present = r < long(group) * long(params.query_length);
  place.row = place.present ? int(r / group) : 0;
  place.head = kv_head * group + int(r % group);
  place.position = sequence.kv_length - params.query_length + place.row;
  place.visible = visible_keys(params, sequence, place.row, place.row);
  if (!place.present) place.visible.end = place.visible.begin;
  return place;
}

/// Keys that some of the `count` rows from `first` on see.
METAL_FUNC KeyRange visible_to_rows(constant AttentionParams& params, thread const Sequence& sequence,
                                    long first, long count) {
  const int group = params.query_heads / params.kv_heads;
  const long rows = long(group) * long(params.query_length);
  const long last = min(first + count, rows) - 1;
  KeyRange range;
  range.begin = 0;
  range.end = 0;
  return last < first ? range : visible_keys(params, sequence, int(first / group), int(last / group));
}
