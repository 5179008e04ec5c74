// Products of 32 rows by panels of 32 columns in tile registers, of factors that are sums of bfloat16.
#pragma once

#include <type_traits>

#include "devices/cpu/kernels/amx/tile_registers.h"
#include "devices/cpu/kernels/bf16/split.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

constexpr int kProductRows = 2 * kTileSide;

/// How many bfloat16 the values of A and of B are sums of; products of part i by part j with i + j > kOrder
/// are left out as too small.
template <int kPartsOfA, int kPartsOfB, int kHighestOrder>
struct Parts {
  static constexpr int kA = kPartsOfA, kB = kPartsOfB, kOrder = kHighestOrder;

  /// Parts of A that part j of B is multiplied by.
  static constexpr int partners(int j) { return kOrder - j + 1 < kA ? kOrder - j + 1 : kA; }
  static constexpr int products() {
    int count = 0;
    for (int j = 0; j < kB; ++j) count += partners(j);
    return count;
  }
};

/// A's tile of some part, step and half of the rows is at
/// at + part * part_stride + step * step_stride + half * kTileSide * row_stride.
struct LeftFactor {
  const int32_t* at;
  int64_t row_stride, step_stride, part_stride;
};

/// Panels of B, each [parts][pairs of rows][kPanelWidth].
struct RightFactor {
  const int32_t* at;
  int64_t panel_stride, part_stride;
};

/// Where products are stored, or added to what is there, in panels of kPanelWidth columns.
struct Sums {
  float* at;
  int64_t row_stride;
  bool adds;
};

/// A * B for one panel of B after another, in portions that can be taken between other work: a portion is the
/// product of one part of A by one of B in one step. Between portions the tile registers 0 to 3 hold sums, 4
/// to 7 the factors of the next portion.
template <class Parts, Use kUseOfA>
class PanelProducts {
 public:
  METALHEAD_INLINE explicit PanelProducts(TileRegisters& tiles) : tiles_(tiles) {}

  /// Of A's `rows`, up to kProductRows; `depth` values are summed up for each of `columns` columns.
  METALHEAD_INLINE PanelProducts(TileRegisters& tiles, int rows, const LeftFactor& a, const RightFactor& b,
                                 const Sums& sums, int64_t depth, int64_t columns)
      : tiles_(tiles),
        a_(a),
        b_(b),
        sums_(sums),
        left_(a.at),
        right_(b.at),
        has_second_half_(rows > kTileSide),
        steps_(static_cast<int>(steps_of(depth))),
        portions_left_((static_cast<int>(columns) + kPanelWidth - 1) / kPanelWidth * steps_ *
                       Parts::products()) {}

  METALHEAD_INLINE int portions_left() const { return portions_left_; }

  METALHEAD_INLINE void finish() { advance(portions_left_); }

  // Inlined wherever it is called, it would not fit the instruction cache.
  __attribute__((noinline)) void advance(int count) {
    if (is_new_ && portions_left_ > 0) begin();
    for (int i = count < portions_left_ ? count : portions_left_; i > 0; --i) {
      multiply();
      const bool ends_panel = next();
      // Before sums are stored: loads wait for the stores of tiles before them.
      if (--portions_left_ > 0) read_factors();
      if (ends_panel) end_panel();
    }
  }

 private:
  METALHEAD_INLINE void begin() {
    is_new_ = false;
    read_factors();
    for_each_sum([&](auto tile, float* at) __attribute__((always_inline)) { begin_sum<tile()>(at); });
  }

  /// Stores the sums of a panel and begins those of the next, tile by tile.
  METALHEAD_INLINE void end_panel() {
    const bool is_last = portions_left_ == 0;
    for_each_sum([&](auto tile, float* at) __attribute__((always_inline)) {
      tiles_.write<tile()>(at, sums_.row_stride);
      if (!is_last) begin_sum<tile()>(at + kPanelWidth);
    });
    sums_.at += kPanelWidth;
  }

  template <int kTile>
  METALHEAD_INLINE void begin_sum(const float* at) {
    if (sums_.adds) {
      tiles_.read<kTile>(as_pairs(at), sums_.row_stride);
    } else {
      tiles_.clear<kTile>();
    }
  }

  /// Calls `function` with the number of each tile of sums, as a type, and its place in memory.
  template <class Function>
  METALHEAD_INLINE void for_each_sum(Function function) {
    float* const second_half = sums_.at + kTileSide * sums_.row_stride;
    function(std::integral_constant<int, 0>{}, sums_.at);
    function(std::integral_constant<int, 1>{}, sums_.at + kTileSide);
    if (!has_second_half_) return;
    function(std::integral_constant<int, 2>{}, second_half);
    function(std::integral_constant<int, 3>{}, second_half + kTileSide);
  }

  METALHEAD_INLINE void multiply() {
    tiles_.add_products<0, 4, 6>();
    tiles_.add_products<1, 4, 7>();
    if (!has_second_half_) return;
    tiles_.add_products<2, 5, 6>();
    tiles_.add_products<3, 5, 7>();
  }

  /// Weights come from the nearest cache, sums as well; queries, keys and values should not displace them.
  METALHEAD_INLINE void read_factors() {
    if (a_part_ == 0) {
      tiles_.read<6, Use::kOnce>(right_, kPanelWidth);
      tiles_.read<7, Use::kOnce>(right_ + kTileSide, kPanelWidth);
    }
    tiles_.read<4, kUseOfA>(left_, a_.row_stride);
    if (has_second_half_) tiles_.read<5, kUseOfA>(left_ + kTileSide * a_.row_stride, a_.row_stride);
  }

  /// Moves on to the next portion; true if that is in the next panel.
  METALHEAD_INLINE bool next() {
    left_ += a_.part_stride;
    if (++a_part_ < Parts::partners(b_part_)) return false;
    left_ -= a_part_ * a_.part_stride;
    a_part_ = 0;
    right_ += b_.part_stride;
    if (++b_part_ < Parts::kB) return false;
    b_part_ = 0;
    left_ += a_.step_stride;
    right_ += kTileSide * kPanelWidth - Parts::kB * b_.part_stride;
    if (++step_ < steps_) return false;
    step_ = 0;
    left_ = a_.at;
    right_ = b_.at += b_.panel_stride;
    return true;
  }

  TileRegisters& tiles_;
  LeftFactor a_{};
  RightFactor b_{};
  Sums sums_{};
  const int32_t *left_ = nullptr, *right_ = nullptr;  ///< the factors of the next portion
  bool has_second_half_ = false, is_new_ = true;
  int steps_ = 0, portions_left_ = 0;
  int step_ = 0, a_part_ = 0, b_part_ = 0;
};

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
