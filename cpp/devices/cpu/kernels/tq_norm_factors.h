// Norms of the packed keys or values of a tile, as the factors of their levels.
#pragma once

#include "devices/cpu/kernels/row_block.h"
#include "devices/cpu/kernels/tq_stream.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// factors[i] becomes the norm of key i of the request over sqrt(dim); 0 after its last key.
METALHEAD_INLINE void load_norm_factors(const TileRequest& request, const PackedSide& side, int dim,
                                        float* factors) {
  const Sequence& sequence = *request.sequence;
  const int64_t end = request.first_key + request.count;
  for (int64_t key = request.first_key; key < end;) {
    const int run = static_cast<int>(contiguous_keys(sequence, key, end));
    load_norms(side, sequence.batch, request.kv_head, physical_row(sequence, key), run, rotation_factor(dim),
               factors + (key - request.first_key));
    key += run;
  }
  for (int i = request.count; i < kMaxTileFactors; ++i) factors[i] = 0.0f;
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
