// Which tiles of keys and values a thread keeps laid out from one row block of a KV head to the next.
#pragma once

#include "devices/cpu/kernels/attention_view.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Places for tiles of one KV head. A tile is known by its first key.
class KeptTiles {
 public:
  /// As many places as are wanted, up to kMostPlaces and as kMostFloats hold, but at least one.
  METALHEAD_INLINE KeptTiles(int tile_keys, int64_t tile_floats, int64_t wanted)
      : tile_keys_(tile_keys),
        places_(larger(1, smaller(wanted, smaller(kMostPlaces, kMostFloats / tile_floats)))) {}

  METALHEAD_INLINE int64_t places() const { return places_; }

  /// Goes on with tiles of that KV head; those of another one are of no use any more.
  METALHEAD_INLINE void turn_to(int64_t batch, int64_t kv_head) {
    if (batch == batch_ && kv_head == kv_head_) return;
    batch_ = batch;
    kv_head_ = kv_head;
    for (Tile& tile : tiles_) tile.keys = 0;
  }

  /// The place of the tile that starts at `first_key`. Where there are too few, all but the first tiles share
  /// the last: taking turns, each would displace one that is needed sooner.
  METALHEAD_INLINE int64_t place_of(int64_t first_key) const {
    return smaller(first_key / tile_keys_, places_ - 1);
  }

  /// True if `keys` keys from `first_key` on are in their place; if not, the caller lays them out there.
  METALHEAD_INLINE bool keeps(int64_t first_key, int64_t keys) {
    Tile& tile = tiles_[place_of(first_key)];
    if (tile.first_key == first_key && tile.keys >= keys) return true;
    tile = {first_key, keys};
    return false;
  }

 private:
  static constexpr int64_t kMostPlaces = 64;
  /// 8 MiB: reading tiles back, from any cache or memory, takes less than laying them out.
  static constexpr int64_t kMostFloats = int64_t{1} << 21;

  struct Tile {
    int64_t first_key, keys;
  };

  int64_t tile_keys_, places_;
  int64_t batch_ = 0, kv_head_ = 0;
  Tile tiles_[kMostPlaces]{};
};

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
