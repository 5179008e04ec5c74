// Attention for few query rows: the keys of one split are streamed once for all rows of a KV head.
#include "devices/cpu/kernels/attention_row.h"
#include "devices/cpu/kernels/kernels.h"
#include "devices/cpu/kernels/scratch_layout.h"
#include "devices/cpu/kernels/stream_rows.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {
namespace {

constexpr int kMaxBlockKeys = 128;
constexpr int kMinBlockKeys = 16;
/// Bytes of a block of keys, at most: the block and the values of the same keys lie in a near cache.
constexpr int64_t kBlockBytes = 32768;

/// The rows of one KV head in one sequence, and the worker's memory for them.
struct RowGroup {
  const AttentionView* view;
  Sequence sequence;
  int64_t kv_head;
  int rows;
  int block_keys;
  int64_t query_stride, sums_stride;  ///< floats between rows
  float* query;                       ///< [rows][query_stride]
  float* sums;                        ///< [rows][sums_stride]
  float* maxima;                      ///< [rows in whole vectors]
  float* totals;                      ///< [rows in whole vectors]: sums of weights
  float* scores;                      ///< [rows][block_keys]
  QueryRow* query_rows;               ///< [rows]
  bool has_plain_scores;
};

void allocate(RowGroup& group, Scratch& scratch) {
  const AttentionParams& params = *group.view->params;
  group.rows = static_cast<int>(group.view->group * params.query_length);
  const int64_t keys = kBlockBytes / (params.head_dim * element_bytes(group.view->key_dtype));
  group.block_keys = static_cast<int>(larger(kMinBlockKeys, smaller(kMaxBlockKeys, keys / 16 * 16)));
  group.query_stride = round_up(params.head_dim, 16);
  group.sums_stride = round_up(params.value_dim, 16);
  const int64_t rows = round_up(group.rows, 16);
  ScratchLayout layout;
  const int64_t query = layout.add(rows * group.query_stride), sums = layout.add(rows * group.sums_stride);
  const int64_t maxima = layout.add(rows), totals = layout.add(rows);
  const int64_t scores = layout.add(rows * group.block_keys);
  const int64_t query_rows = layout.add(rows * static_cast<int64_t>(sizeof(QueryRow) / sizeof(float)));
  float* memory = layout.reserve(scratch);
  group.query = memory + query;
  group.sums = memory + sums;
  group.query_rows = reinterpret_cast<QueryRow*>(memory + query_rows);
  group.has_plain_scores = has_plain_scores(*group.view);
  group.maxima = memory + maxima;
  group.totals = memory + totals;
  group.scores = memory + scores;
}

void begin_rows(const RowGroup& group) {
  const AttentionView& view = *group.view;
  const int64_t padded_rows = round_up(group.rows, 8);
  __builtin_memset(group.sums, 0, static_cast<size_t>(padded_rows * group.sums_stride) * sizeof(float));
  for (int r = 0; r < group.rows; ++r) {
    const QueryRow& row = group.query_rows[r] = query_row_of(view, group.sequence, group.kv_head, r);
    float* query = group.query + r * group.query_stride;
    load_row(query, query_address(view, row), view.query_dtype, view.params->head_dim, group.query_stride,
             1.0f);
    if (view.key_dtype == DType::kBFloat16) split_pairs(query, view.params->head_dim);
  }
  for (int64_t r = 0; r < round_up(group.rows, 16); ++r) {
    group.maxima[r] = kMinusInfinity;
    group.totals[r] = 0.0f;
  }
  for (int64_t r = group.rows; r < padded_rows; ++r) {
    __builtin_memset(group.query + r * group.query_stride, 0,
                     static_cast<size_t>(group.query_stride) * sizeof(float));
  }
}

/// Rows of the next register tile: 8 where there are registers for them, 4, 2 or 1; three rows take a tile of
/// four.
METALHEAD_INLINE int tile_rows(int rows_left) {
  if (kStreamSums == 16 && rows_left > 6) return 8;
  return rows_left > 2 ? 4 : rows_left;
}

template <class T, int kRows>
METALHEAD_INLINE void score_tile(const RowGroup& group, int first, const StoredRows& keys,
                                 const StoredRows& ahead) {
  const AttentionParams& params = *group.view->params;
  dot_rows<T, kRows>(group.query + first * group.query_stride, group.query_stride, params.head_dim, keys,
                     params.scale, group.scores + first * group.block_keys, group.block_keys, ahead);
}

template <class T>
void score_block(const RowGroup& group, const StoredRows& keys, const StoredRows& ahead) {
  for (int r = 0; r < group.rows; r += tile_rows(group.rows - r)) {
    // The first tile fetches what comes next; for the others that has been done.
    const StoredRows& fetched = r == 0 ? ahead : keys;
    const int rows = tile_rows(group.rows - r);
    if constexpr (kStreamSums == 16) {
      if (rows == 8) score_tile<T, 8>(group, r, keys, fetched);
    }
    if (rows == 4) score_tile<T, 4>(group, r, keys, fetched);
    if (rows == 2) score_tile<T, 2>(group, r, keys, fetched);
    if (rows == 1) score_tile<T, 1>(group, r, keys, fetched);
  }
}

template <class T, int kRows>
METALHEAD_INLINE void add_tile(const RowGroup& group, int first, const StoredRows& values,
                               const StoredRows& ahead) {
  add_rows<T, kRows>(group.scores + first * group.block_keys, group.block_keys, values,
                     group.view->params->value_dim, group.sums + first * group.sums_stride, group.sums_stride,
                     ahead);
}

template <class T>
void add_block(const RowGroup& group, const StoredRows& values, const StoredRows& ahead) {
  for (int r = 0; r < group.rows; r += tile_rows(group.rows - r)) {
    const StoredRows& fetched = r == 0 ? ahead : values;
    const int rows = tile_rows(group.rows - r);
    if constexpr (kStreamSums == 16) {
      if (rows == 8) add_tile<T, 8>(group, r, values, fetched);
    }
    if (rows == 4) add_tile<T, 4>(group, r, values, fetched);
    if (rows == 2) add_tile<T, 2>(group, r, values, fetched);
    if (rows == 1) add_tile<T, 1>(group, r, values, fetched);
  }
}

using BlockFunction = void (*)(const RowGroup& group, const StoredRows& rows, const StoredRows& ahead);

METALHEAD_INLINE BlockFunction score_function(DType dtype) {
  return dtype == DType::kFloat32   ? score_block<float>
         : dtype == DType::kFloat16 ? score_block<Float16>
                                    : score_block<BFloat16>;
}
METALHEAD_INLINE BlockFunction add_function(DType dtype) {
  return dtype == DType::kFloat32   ? add_block<float>
         : dtype == DType::kFloat16 ? add_block<Float16>
                                    : add_block<BFloat16>;
}

METALHEAD_INLINE void scale_row(float* row, int64_t count, float factor) {
  for (int64_t i = 0; i < count; i += kLanes) store(row + i, load(row + i) * splat(factor));
}

/// Scores of the block's keys become weights; rows whose maximum grew shrink what they have summed up.
void weigh_block(const RowGroup& group, int64_t first_key, int count) {
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
                 group.maxima + first, group.totals + first, shrink);
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

METALHEAD_INLINE RowSource key_source(const RowGroup& group) {
  const AttentionView& view = *group.view;
  const metalhead_long* strides = view.params->key_strides;
  const int64_t bytes = element_bytes(view.key_dtype);
  return {view.key + (group.sequence.batch * strides[0] + group.kv_head * strides[1]) * bytes,
          strides[2] * bytes};
}
METALHEAD_INLINE RowSource value_source(const RowGroup& group) {
  const AttentionView& view = *group.view;
  const metalhead_long* strides = view.params->value_strides;
  const int64_t bytes = element_bytes(view.value_dtype);
  return {view.value + (group.sequence.batch * strides[0] + group.kv_head * strides[1]) * bytes,
          strides[2] * bytes};
}

void attend_keys(const RowGroup& group, KeyRange range) {
  const BlockFunction score = score_function(group.view->key_dtype),
                      add = add_function(group.view->value_dtype);
  const RowSource keys = key_source(group), values = value_source(group);
  for (int64_t key = range.begin; key < range.end;) {
    const int64_t run = contiguous_keys(group.sequence, key, range.end);
    const int count = static_cast<int>(smaller(group.block_keys, run));
    const int next_count = static_cast<int>(smaller(group.block_keys, run - count));
    const int64_t row = physical_row(group.sequence, key);
    const StoredRows block_keys{keys.data + row * keys.stride, keys.stride, count};
    const StoredRows block_values{values.data + row * values.stride, values.stride, count};
    const StoredRows next_keys{block_keys.data + count * keys.stride, keys.stride, next_count};
    score(group, block_keys, block_values);
    weigh_block(group, key, count);
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
