// How the attention kernels of a GPU cut their threadgroups; the numbers that measurements on hardware may
// change.
#pragma once

#include <algorithm>
#include <cstdint>

namespace metalhead {

/// Simdgroups of a threadgroup = columns * key_groups * row_groups; columns share the dims, see
/// metal/common/team.h.
struct AttentionTuning {
  int row_blocks;  ///< blocks of 8 query rows that a simdgroup holds: 1, 2 or 4 (`sdpa`: 1 or 2)
  int key_groups;  ///< parts that take different keys
  int row_groups;  ///< parts that take different query rows
};

/// Columns of 8 * 16 / row_blocks dims, as 16 accumulator matrices hold them.
constexpr int64_t tuned_columns(const AttentionTuning& tuning, int64_t wider_dim) {
  const int64_t width = 128 / tuning.row_blocks;
  return (wider_dim + width - 1) / width;
}

constexpr int64_t tuned_simdgroups(const AttentionTuning& tuning, int64_t wider_dim) {
  return tuned_columns(tuning, wider_dim) * tuning.key_groups * tuning.row_groups;
}

/// Query rows that a threadgroup takes at a time.
constexpr int64_t tuned_rows(const AttentionTuning& tuning) {
  return 8 * int64_t{tuning.row_blocks} * tuning.row_groups;
}

/// Bytes of the threadgroup memory block: 8 rows with the key groups' stats, or the scores that columns
/// exchange.
constexpr uint32_t tuned_threadgroup_bytes(const AttentionTuning& tuning, int64_t wider_dim) {
  const int64_t rows = 8 * wider_dim + 16 * int64_t{tuning.key_groups};
  const int64_t scores = tuned_columns(tuning, wider_dim) > 1 ? 256 * tuned_simdgroups(tuning, wider_dim) : 0;
  return static_cast<uint32_t>((4 * std::max(rows, scores) + 15) / 16 * 16);
}

/// `flash_attn_vec` for `rows` query rows of a KV head. All rows in one pass as far as 32 of them; about 8
/// simdgroups.
constexpr AttentionTuning decode_tuning(int64_t rows, int64_t wider_dim) {
  AttentionTuning tuning{1, 1, 1};
  if (rows > 8) tuning.row_blocks = 2;
  if (rows > 16 && wider_dim <= 256) tuning.row_blocks = 4;
  const int64_t columns = tuned_columns(tuning, wider_dim);
  tuning.key_groups = static_cast<int>(std::clamp<int64_t>(8 / columns, 1, 4));
  return tuning;
}

/// `sdpa`: tiles of 32 rows, 64 where a simdgroup holds whole rows of 16.
constexpr AttentionTuning prefill_tuning(int64_t wider_dim) {
  if (wider_dim <= 64) return {2, 1, 4};
  if (wider_dim <= 256) return {2, 1, 2};
  return {1, 1, 4};
}

}  // namespace metalhead
