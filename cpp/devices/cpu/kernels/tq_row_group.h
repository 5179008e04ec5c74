// What a block of packed keys or values does to the query rows that share a KV head in decode.
#pragma once

#include "devices/cpu/kernels/row_group.h"
#include "devices/cpu/kernels/tq_planes.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Floats of RowGroup::tile that the call needs; 0 if no side is packed.
int64_t packed_tile_floats(const AttentionView& view);

/// Floats of a query row as products take it.
int64_t query_row_floats(const AttentionView& view);

/// What products of query rows and stored keys are multiplied by.
float score_factor_of(const AttentionView& view);

/// Loads what the levels of packed values are multiplied by.
void load_value_factors(const RowGroup& group, const StoredRows& values);

/// Brings a query row [head_dim] to the basis and the order of coordinates in which packed keys are expanded;
/// there it takes query_row_floats.
void prepare_packed_query(const RowGroup& group, float* query);

/// Brings a row of sums [value_dim] over packed values back to the natural order of coordinates.
void restore_packed_sums(const RowGroup& group, float* sums);

BlockFunction packed_score_function(int bits);
BlockFunction packed_add_function(int bits);

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
