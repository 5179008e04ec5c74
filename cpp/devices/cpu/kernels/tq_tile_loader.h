// Tiles of packed keys and values as float32 panels: what tile_loader.h is to dense storage.
#pragma once

#include "devices/cpu/kernels/tile_loader.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

TileLoader packed_key_loader(int bits);
TileLoader packed_value_loader(int bits);

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
