// Tiles of packed keys and values as the bfloat16 that tiles multiply. Norms are left out: those of keys are
// factors of scores, those of values factors of weights.
#pragma once

#include "devices/cpu/kernels/tile_loader.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Writes panels [parts][pair_rows][kPanelWidth] of pairs as split_panels does, of levels without norms: of
/// keys with a column for each key, of values with a column for each coordinate. Columns of keys past the
/// last, and rows of values past the last, hold any levels.
using PartLoader = void (*)(const TileRequest& request, int64_t pair_rows, int32_t* panels);

/// `parts` as for store_parts; 1 is for 8 bits alone, whose levels are whole numbers that a bfloat16 holds.
PartLoader packed_key_part_loader(int bits, int parts);
PartLoader packed_value_part_loader(int bits, int parts);

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
