// How the simdgroups of a threadgroup share attention's work: by keys, by query rows and by columns of the
// dims.
#pragma once

#include "common/lanes.h"
#include "common/visibility.h"

/// Accumulator matrices of a simdgroup: ROW_BLOCKS blocks of 8 rows times 16 / ROW_BLOCKS blocks of 8
/// columns.
#define METALHEAD_MATRICES 16
/// Score matrices of a simdgroup at a time: ROW_BLOCKS times its tiles of 8 keys.
#define METALHEAD_SCORE_MATRICES 4

/// Work sizes that do not change during a launch.
struct AttentionShape {
  int head_dim;
  int value_dim;
  int key_groups;
  uint query_type;  ///< a KernelDType
  uint out_type;
  bool has_sinks;
  bool has_lse;
  bool split_output;
  bool rotate_query;
  bool rotate_out;
};

/// Where a simdgroup stands. Simdgroups of one key group and one row group differ in the columns of the dims:
/// each adds up a part of every q.k, and each makes some columns of the output.
struct Team {
  int simdgroups;
  int columns;     ///< simdgroups that share the dims
  int row_groups;  ///< sets of 8 * ROW_BLOCKS query rows
  int simdgroup;
  int key_group;
  int row_group;
  int column;
  int key_width;    ///< dims of q.k that a simdgroup adds up
  int value_width;  ///< columns of the output that a simdgroup makes
  uint lane;
};

METAL_FUNC int round_up(int value, int step) { return (value + step - 1) / step * step; }

/// `key_step` and `value_step`: dims that one run of every lane covers.
template <int ROW_BLOCKS>
METAL_FUNC Team make_team(thread const AttentionShape& shape, int key_step, int value_step, uint simdgroups,
                          uint simdgroup, uint lane) {
  const int width = 8 * METALHEAD_MATRICES / ROW_BLOCKS;
  const int wider = max(shape.head_dim, shape.value_dim);
  Team team;
  team.simdgroups = int(simdgroups);
  team.columns = (wider + width - 1) / width;
  team.row_groups = team.simdgroups / (team.columns * shape.key_groups);
  team.simdgroup = int(simdgroup);
  team.column = team.simdgroup % team.columns;
  team.row_group = team.simdgroup / team.columns % team.row_groups;
  team.key_group = team.simdgroup / team.columns / team.row_groups;
  team.key_width = round_up((shape.head_dim + team.columns - 1) / team.columns, key_step);
  team.value_width = round_up((shape.value_dim + team.columns - 1) / team.columns, value_step);
  team.lane = lane;
  return team;
}
