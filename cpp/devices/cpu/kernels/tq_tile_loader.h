// Tiles of packed keys and values as float32 panels: what tile_loader.h is to dense storage.
#pragma once

#include "devices/cpu/kernels/tile_loader.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

TileLoader packed_key_loader(int bits);
TileLoader packed_value_loader(int bits);

/// The loaders of what the view holds, dense or packed.
METALHEAD_INLINE TileLoader key_loader(const AttentionView& view) {
  const int bits = view.packed_key.bits;
  return bits != 0 ? packed_key_loader(bits) : dense_key_loader(view.key_dtype);
}
METALHEAD_INLINE TileLoader value_loader(const AttentionView& view) {
  const int bits = view.packed_value.bits;
  return bits != 0 ? packed_value_loader(bits) : dense_value_loader(view.value_dtype);
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
