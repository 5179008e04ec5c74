// Attention for few query rows: the keys of one split are streamed once for all rows of a KV head.
#include "devices/cpu/kernels/attention_row.h"
#include "devices/cpu/kernels/kernels.h"
#include "devices/cpu/kernels/scratch_layout.h"
#include "devices/cpu/kernels/tq_row_group.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {
namespace {

constexpr int kMinBlockKeys = 16;

/// How much a block of keys holds at most.
struct BlockSize {
  int keys;
  int64_t bytes;
};
/// Streams of dense rows need some length; both blocks, of keys and of values, lie in the L2 cache.
constexpr BlockSize kDenseBlock{512, 131072};
/// Codes are fetched a block ahead: both blocks lie in the nearest cache.
constexpr BlockSize kPackedBlock{128, 32768};
/// Scores of a block, for all rows that share it.
constexpr int64_t kBlockScores = 32768;

int block_keys_of(const AttentionView& view, int rows) {
  const AttentionParams& params = *view.params;
  const BlockSize most =
      view.packed_key.bits != 0 || view.packed_value.bits != 0 ? kPackedBlock : kDenseBlock;
  const int64_t row_bytes = larger(params.head_dim * element_bytes(view.key_dtype),
                                   params.value_dim * element_bytes(view.value_dtype));
  const int64_t keys = smaller(most.bytes / row_bytes, kBlockScores / rows);
  return static_cast<int>(larger(kMinBlockKeys, smaller(most.keys, keys / 16 * 16)));
}

void allocate(RowGroup& group, Scratch& scratch) {
  const AttentionParams& params = *group.view->params;
  group.rows = static_cast<int>(group.view->group * params.query_length);
  group.block_keys = block_keys_of(*group.view, group.rows);
  group.query_stride = query_row_floats(*group.view);
  group.sums_stride = round_up(params.value_dim, 16);
  const int64_t rows = round_up(group.rows, 16);
  ScratchLayout layout;
  const int64_t query = layout.add(rows * group.query_stride), sums = layout.add(rows * group.sums_stride);
  const int64_t row_tile = layout.add(kMaxTileRows * group.query_stride);
  const int64_t maxima = layout.add(rows), totals = layout.add(rows);
  const int64_t scores = layout.add(rows * group.block_keys);
  const int64_t tile = layout.add(packed_tile_floats(*group.view)),
                factors = layout.add(group.block_keys + 16);
  const int64_t query_rows = layout.add(rows * static_cast<int64_t>(sizeof(QueryRow) / sizeof(float)));
  float* memory = layout.reserve(scratch);
  group.query = memory + query;
  group.row_tile = memory + row_tile;
  group.sums = memory + sums;
  group.query_rows = reinterpret_cast<QueryRow*>(memory + query_rows);
  group.has_plain_scores = has_plain_scores(*group.view);
  group.maxima = memory + maxima;
  group.totals = memory + totals;
  group.scores = memory + scores;
  group.tile = memory + tile;
  group.factors = memory + factors;
  group.score_factor = score_factor_of(*group.view);
}

/// Loads query row r in the basis and order of coordinates of the keys; zeros if it is beyond the last.
void load_query_row(const RowGroup& group, int r, float* query) {
  const AttentionView& view = *group.view;
  if (r >= group.rows) {
    __builtin_memset(query, 0, static_cast<size_t>(group.query_stride) * sizeof(float));
    return;
  }
  const char* from = query_address(view, group.query_rows[r]);
  load_row(query, from, view.query_dtype, view.params->head_dim, group.query_stride, 1.0f);
  prepare_packed_query(group, query);
  if (view.key_dtype == DType::kBFloat16) split_pairs(query, view.params->head_dim);
}

void begin_rows(const RowGroup& group) {
  const int64_t padded_rows = round_up(group.rows, 8);
  __builtin_memset(group.sums, 0, static_cast<size_t>(padded_rows * group.sums_stride) * sizeof(float));
  for (int r = 0; r < group.rows; ++r)
    group.query_rows[r] = query_row_of(*group.view, group.sequence, group.kv_head, r);
  for (int64_t r = 0; r < round_up(group.rows, 16); ++r) {
    group.maxima[r] = kMinusInfinity;
    group.totals[r] = 0.0f;
  }
  for (int first = 0, rows; first < group.rows; first += rows) {
    rows = tile_rows(group.rows - first);
    for (int i = 0; i < rows; ++i) load_query_row(group, first + i, group.row_tile + i * group.query_stride);
    interleave_rows(group.row_tile, group.query_stride, rows, group.query + first * group.query_stride);
  }
}

METALHEAD_INLINE BlockFunction score_function(DType dtype, int bits) {
  if (bits != 0) return packed_score_function(bits);
  return dtype == DType::kFloat32   ? score_block<float>
         : dtype == DType::kFloat16 ? score_block<Float16>
                                    : score_block<BFloat16>;
}
METALHEAD_INLINE BlockFunction add_function(DType dtype, int bits) {
  if (bits != 0) return packed_add_function(bits);
  return dtype == DType::kFloat32   ? add_block<float>
         : dtype == DType::kFloat16 ? add_block<Float16>
                                    : add_block<BFloat16>;
}

METALHEAD_INLINE void scale_row(float* row, int64_t count, float factor) {
  for (int64_t i = 0; i < count; i += kLanes) store(row + i, load(row + i) * splat(factor));
}

/// Scores of the block's keys become weights, which `put` stores; rows whose maximum grew shrink what they
/// have summed up.
template <class Put>
void weigh_block(const RowGroup& group, int64_t first_key, int count, const Put& put) {
  const bool all_visible = first_key >= group.query_rows[group.rows - 1].visible.begin &&
                           first_key + count <= group.query_rows[0].visible.end && count % kLanes == 0;
  if (!group.has_plain_scores || !all_visible) {
    for (int r = 0; r < group.rows; ++r) {
      finish_scores(*group.view, group.query_rows[r], group.scores + r * group.block_keys, 0, count,
                    first_key);
    }
  }
  alignas(64) float shrink[kLanes];
  for (int first = 0; first < group.rows; first += kLanes) {
    const int rows = static_cast<int>(smaller(kLanes, group.rows - first));
    softmax_step(group.scores + first * group.block_keys, group.block_keys, rows, 0, count,
                 group.maxima + first, group.totals + first, shrink, put);
    for (int r = 0; r < rows; ++r) {
      if (shrink[r] != 1.0f)
        scale_row(group.sums + (first + r) * group.sums_stride, group.sums_stride, shrink[r]);
    }
  }
}

/// Where the rows of one of K and V lie.
struct RowSource {
  const char* data;
  int64_t stride;  ///< bytes
};

/// What a stored row takes.
METALHEAD_INLINE int64_t row_bytes_of(int dim, DType dtype, int bits) {
  return bits == 0 ? dim * element_bytes(dtype) : int64_t{dim} * bits / 8;
}

/// `strides` count elements, or bytes if `bits` is not 0.
METALHEAD_INLINE RowSource source_of(const RowGroup& group, const char* data, const metalhead_long* strides,
                                     DType dtype, int bits) {
  const int64_t unit = bits == 0 ? element_bytes(dtype) : 1;
  return {data + (group.sequence.batch * strides[0] + group.kv_head * strides[1]) * unit, strides[2] * unit};
}

/// Asks for what arrives while scores become weights. Packed rows beside packed ones have been asked for.
METALHEAD_INLINE void fetch_next(const StoredRows& rows, int64_t bytes, int bits, int other_bits,
                                 Streams streams) {
  if (bits == 0) {
    fetch_heads(rows, bytes, streams);
  } else if (other_bits == 0) {
    fetch_rows(rows, 0, rows.count, bytes);
  }
}

void attend_keys(const RowGroup& group, KeyRange range) {
  const AttentionView& view = *group.view;
  const AttentionParams& params = *view.params;
  const int key_bits = view.packed_key.bits, value_bits = view.packed_value.bits;
  const BlockFunction score = score_function(view.key_dtype, key_bits),
                      add = add_function(view.value_dtype, value_bits);
  const int64_t key_bytes = row_bytes_of(params.head_dim, view.key_dtype, key_bits),
                value_bytes = row_bytes_of(params.value_dim, view.value_dtype, value_bits);
  const RowSource keys = source_of(group, view.key, params.key_strides, view.key_dtype, key_bits);
  const RowSource values = source_of(group, view.value, params.value_strides, view.value_dtype, value_bits);
  for (int64_t key = range.begin; key < range.end;) {
    const int64_t run = contiguous_keys(group.sequence, key, range.end);
    const int count = static_cast<int>(smaller(group.block_keys, run));
    const int next_count = static_cast<int>(smaller(group.block_keys, run - count));
    const int64_t row = physical_row(group.sequence, key);
    const StoredRows block_keys{keys.data + row * keys.stride, keys.stride, count, row};
    const StoredRows block_values{values.data + row * values.stride, values.stride, count, row};
    const StoredRows next_keys{block_keys.data + count * keys.stride, keys.stride, next_count};
    score(group, block_keys, block_values);
    fetch_next(block_values, value_bytes, value_bits, key_bits, value_streams(count, value_bytes));
    fetch_next(next_keys, key_bytes, key_bits, value_bits,
               key_streams(next_count, key_bytes, kStreamSums / tile_rows(group.rows)));
    if (value_bits != 0) {
      load_value_factors(group, block_values);
      weigh_block(group, key, count, StoreScaledWeights{group.factors});
    } else {
      weigh_block(group, key, count, StoreWeights{});
    }
    add(group, block_values, next_count > 0 ? next_keys : block_values);
    key += count;
  }
}

/// Sums over bfloat16 values lie in split order until here.
void end_rows(const RowGroup& group) {
  if (group.view->value_dtype != DType::kBFloat16) return;
  for (int r = 0; r < group.rows; ++r)
    join_pairs(group.sums + r * group.sums_stride, group.view->params->value_dim);
}

/// Leaves the rows' unnormalised sums and stats for the reduction.
void write_partials(const RowGroup& group, int64_t split) {
  const AttentionView& view = *group.view;
  const int64_t value_dim = view.params->value_dim;
  for (int r = 0; r < group.rows; ++r) {
    restore_packed_sums(group, group.sums + r * group.sums_stride);
    const int64_t slot = contiguous_index(view, group.query_rows[r]) * view.params->splits + split;
    view.partial_stats[2 * slot] = group.maxima[r];
    view.partial_stats[2 * slot + 1] = group.totals[r];
    if (group.totals[r] != 0.0f) {
      store_row(view.partial_out + slot * value_dim, group.sums + r * group.sums_stride, value_dim, 1.0f);
    }
  }
}

void write_rows(const RowGroup& group) {
  for (int r = 0; r < group.rows; ++r) {
    restore_packed_sums(group, group.sums + r * group.sums_stride);
    write_row(*group.view, group.query_rows[r], group.sums + r * group.sums_stride,
              {group.maxima[r], group.totals[r]});
  }
}

METALHEAD_INLINE KeyRange keys_of_split(const AttentionParams& params, const Sequence& sequence,
                                        int64_t split) {
  const KeyRange all = visible_keys(params, sequence, 0, params.query_length - 1);
  const int64_t begin = all.begin + split * params.keys_per_split;
  return {begin, params.splits == 1 ? all.end : smaller(all.end, begin + params.keys_per_split)};
}

}  // namespace

void flash_attn_vec(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch) {
  const AttentionView view = view_of(launch);
  RowGroup group{};
  group.view = &view;
  allocate(group, scratch);
  for (uint64_t index = begin; index < end; ++index) {
    const GridPosition at = grid_position(launch, index);
    group.kv_head = at.y;
    group.sequence = sequence_of(view, at.z);
    begin_rows(group);
    attend_keys(group, keys_of_split(*view.params, group.sequence, at.x));
    end_rows(group);
    if (view.partial_out != nullptr) {
      write_partials(group, at.x);
    } else {
      write_rows(group);
    }
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
