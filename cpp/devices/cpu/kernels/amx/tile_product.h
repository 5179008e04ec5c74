// Products of 32 rows by panels of 32 columns in tile registers, of factors that are sums of bfloat16.
#pragma once

#include "devices/cpu/kernels/amx/split.h"
#include "devices/cpu/kernels/amx/tile_registers.h"

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

/// A * B for one panel of B after another, in portions that can be taken between other work: a portion is the
/// product of one part of A by one of B in one step. Between portions the tile registers 0 to 3 hold the
/// sums, the others the factors of the next portion, so that no portion waits for memory.
template <class Parts>
class PanelProducts {
 public:
  /// Of A's `rows`, up to kProductRows; `depth` values are summed up for each of `columns` columns.
  METALHEAD_INLINE PanelProducts(TileRegisters& tiles, int rows, const LeftFactor& a, const RightFactor& b,
                                 int64_t depth, int64_t columns)
      : tiles_(tiles),
        a_(a),
        b_(b),
        left_(a.at),
        right_(b.at),
        has_second_half_(rows > kTileSide),
        steps_(static_cast<int>(steps_of(depth))),
        portions_left_((static_cast<int>(columns) + kPanelWidth - 1) / kPanelWidth * steps_ *
                       Parts::products()) {}

  METALHEAD_INLINE int portions_left() const { return portions_left_; }

  /// Takes up to `count` portions. `finish(panel)` is to call `write`.
  template <class Finish>
  __attribute__((noinline)) void advance(int count, Finish finish) {
    for (int i = count < portions_left_ ? count : portions_left_; i > 0; --i) {
      if (!has_begun_) begin();
      multiply();
      const bool is_panel_done = next();
      if (is_panel_done) {
        finish(panel_++);
        clear_sums();
      }
      if (--portions_left_ > 0) read_factors();
    }
  }

  /// The sums of the panel that is done, as [rows][kPanelWidth].
  METALHEAD_INLINE void write(float* to, int64_t stride) const {
    tiles_.write<0>(to, stride);
    tiles_.write<1>(to + kTileSide, stride);
    if (!has_second_half_) return;
    tiles_.write<2>(to + kTileSide * stride, stride);
    tiles_.write<3>(to + kTileSide * stride + kTileSide, stride);
  }

 private:
  METALHEAD_INLINE void begin() {
    has_begun_ = true;
    clear_sums();
    read_factors();
  }

  METALHEAD_INLINE void clear_sums() {
    tiles_.clear<0>();
    tiles_.clear<1>();
    tiles_.clear<2>();
    tiles_.clear<3>();
  }

  METALHEAD_INLINE void multiply() {
    tiles_.add_products<0, 4, 6>();
    tiles_.add_products<1, 4, 7>();
    if (!has_second_half_) return;
    tiles_.add_products<2, 5, 6>();
    tiles_.add_products<3, 5, 7>();
  }

  METALHEAD_INLINE void read_factors() {
    if (a_part_ == 0) {
      tiles_.read<6>(right_, kPanelWidth);
      tiles_.read<7>(right_ + kTileSide, kPanelWidth);
    }
    tiles_.read<4>(left_, a_.row_stride);
    if (has_second_half_) tiles_.read<5>(left_ + kTileSide * a_.row_stride, a_.row_stride);
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
    right_ = b_.at + (panel_ + 1) * b_.panel_stride;
    return true;
  }

  TileRegisters& tiles_;
  LeftFactor a_;
  RightFactor b_;
  const int32_t *left_, *right_;  ///< the factors of the next portion
  bool has_second_half_, has_begun_ = false;
  int steps_, portions_left_;
  int panel_ = 0, step_ = 0, a_part_ = 0, b_part_ = 0;
};

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
