// Blocks of packed keys and values in decode: codes taken into registers for few rows, expanded once for
// many.
#include "devices/cpu/kernels/tq_row_group.h"

#include "devices/cpu/kernels/tq_field_order.h"
#include "devices/cpu/kernels/tq_stream.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {
namespace {

/// More rows than this share an expanded tile; fewer take the codes straight into registers, tile by tile.
/// AVX-512 looks levels up so fast that it does so for any number.
template <int kBits>
constexpr int kMaxRowsInRegisters = plane_widths(kBits).low == 0 ? 8 : 4;

template <int kBits>
METALHEAD_INLINE bool takes_codes_into_registers(int rows) {
  return kLanes == 16 || rows <= kMaxRowsInRegisters<kBits>;
}

/// Loads `factor` times the norms of a packed side.
void load_factors(const RowGroup& group, const PackedSide& side, float factor, const StoredRows& rows) {
  load_norms(side, group.sequence.batch, group.kv_head, rows.first_row, rows.count, factor, group.factors);
}

/// Multiplies scores by the factors of the keys.
void apply_factors(const RowGroup& group, int keys) {
  for (int r = 0; r < group.rows; ++r) {
    float* scores = group.scores + r * group.block_keys;
    for (int j = 0; j < keys; j += kLanes) store(scores + j, load(scores + j) * load(group.factors + j));
  }
}

/// Bytes of a packed row, 0 of a dense one, which is fetched as it is read.
int64_t packed_bytes(const PackedSide& side, int64_t dim) { return dim * side.bits / 8; }

template <int kBits, int kParts>
void score_keys(const RowGroup& group, const StoredRows& keys, const StoredRows& ahead, int dim) {
  const int64_t ahead_bytes = packed_bytes(group.view->packed_value, group.view->params->value_dim);
  if (!takes_codes_into_registers<kBits>(group.rows)) {
    RowGroup part = group;
    part.score_factor = 1.0f;
    for_each_expanded_tile<kBits, kParts>(keys, dim, group.tile, ahead, ahead_bytes,
                                          [&](const StoredRows& tile, int first) {
                                            part.scores = group.scores + first;
                                            score_block<float>(part, tile, {});
                                          });
    apply_factors(group, keys.count);
    return;
  }
  for_each_row_tile(group.rows, [&]<int kRows>(int first) {
    const PackedQuery query{group.query + first * group.query_stride, dim, group.factors};
    dot_packed_rows<kBits, kParts, kRows>(query, keys, group.scores + first * group.block_keys,
                                          group.block_keys, first == 0 ? ahead : keys, ahead_bytes);
  });
}

template <int kBits, int kParts>
void add_values(const RowGroup& group, const StoredRows& values, const StoredRows& ahead, int dim) {
  const int64_t ahead_bytes = packed_bytes(group.view->packed_key, group.view->params->head_dim);
  if (!takes_codes_into_registers<kBits>(group.rows)) {
    RowGroup part = group;
    for_each_expanded_tile<kBits, kParts>(values, dim, group.tile, ahead, ahead_bytes,
                                          [&](const StoredRows& tile, int first) {
                                            part.scores = group.scores + first;
                                            add_block<float>(part, tile, {});
                                          });
    return;
  }
  for_each_row_tile(group.rows, [&]<int kRows>(int first) {
    const PackedSums sums{group.sums + first * group.sums_stride, group.sums_stride, dim};
    add_packed_rows<kBits, kParts, kRows>(group.scores + first * group.block_keys, group.block_keys, values,
                                          sums, first == 0 ? ahead : values, ahead_bytes);
  });
}

template <int kBits>
void score_packed_block(const RowGroup& group, const StoredRows& keys, const StoredRows& ahead) {
  const int dim = group.view->params->head_dim;
  load_factors(group, group.view->packed_key, group.score_factor, keys);
  with_parts(dim, [&]<int kParts>() { score_keys<kBits, kParts>(group, keys, ahead, dim); });
}

template <int kBits>
void add_packed_block(const RowGroup& group, const StoredRows& values, const StoredRows& ahead) {
  const int dim = group.view->params->value_dim;
  with_parts(dim, [&]<int kParts>() { add_values<kBits, kParts>(group, values, ahead, dim); });
}

}  // namespace

int64_t packed_tile_floats(const AttentionView& view) {
  const bool packed = view.packed_key.bits != 0 || view.packed_value.bits != 0;
  return packed ? kPackedTileRows * larger(view.params->head_dim, view.params->value_dim) : 0;
}

int64_t query_row_floats(const AttentionView& view) {
  return round_up(view.params->head_dim, 16) * (view.packed_key.bits == 0 ? 1 : kRowsOfVector);
}

float score_factor_of(const AttentionView& view) {
  const AttentionParams& params = *view.params;
  return view.packed_key.bits == 0 ? params.scale : params.scale * rotation_factor(params.head_dim);
}

void load_value_factors(const RowGroup& group, const StoredRows& values) {
  load_factors(group, group.view->packed_value, rotation_factor(group.view->params->value_dim), values);
}

void prepare_packed_query(const RowGroup& group, float* query) {
  const AttentionView& view = *group.view;
  const int dim = view.params->head_dim;
  if (view.rotate_query) hadamard_row(query, dim, view.params->key_signs, false);
  if (view.packed_key.bits == 0) return;
  to_field_order(view.packed_key.bits, dim, query);
  repeat_halves(query, dim);
}

void restore_packed_sums(const RowGroup& group, float* sums) {
  const int bits = group.view->packed_value.bits, dim = group.view->params->value_dim;
  if (bits != 0) from_field_order(bits, dim, sums);
}

BlockFunction packed_score_function(int bits) {
  return with_bits(bits, []<int kBits>() -> BlockFunction { return score_packed_block<kBits>; });
}

BlockFunction packed_add_function(int bits) {
  return with_bits(bits, []<int kBits>() -> BlockFunction { return add_packed_block<kBits>; });
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
