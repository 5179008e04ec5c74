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

/// Where products are stored, in panels of kPanelWidth columns.
struct Sums {
  float* at;
  int64_t row_stride;
};

/// A * B for one panel of B after another, stored in place of `sums` or (kAddsToSums) added to them, in
/// portions that can be taken between other work: a portion is the product of one part of A by one of B in
/// one step. Between portions the tile registers 0 to 3 hold the sums, 6 and 7 the part of B.
template <class Parts, bool kAddsToSums>
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
    for (int i = count < portions_left_ ? count : portions_left_; i > 0; --i, --portions_left_) {
      if (is_new_panel_) begin_sums();
      read_factors();
      multiply();
      is_new_panel_ = next();
      if (is_new_panel_) write_sums();
    }
  }

 private:
  METALHEAD_INLINE void begin_sums() {
    if constexpr (kAddsToSums) {
      tiles_.read<0>(as_pairs(sums_.at), sums_.row_stride);
      tiles_.read<1>(as_pairs(sums_.at + kTileSide), sums_.row_stride);
      if (!has_second_half_) return;
      tiles_.read<2>(as_pairs(sums_.at + kTileSide * sums_.row_stride), sums_.row_stride);
      tiles_.read<3>(as_pairs(sums_.at + kTileSide * sums_.row_stride + kTileSide), sums_.row_stride);
    } else {
      tiles_.clear<0>();
      tiles_.clear<1>();
      tiles_.clear<2>();
      tiles_.clear<3>();
    }
  }

  /// Stores the sums of a panel and moves on to the next.
  METALHEAD_INLINE void write_sums() {
    tiles_.write<0>(sums_.at, sums_.row_stride);
    tiles_.write<1>(sums_.at + kTileSide, sums_.row_stride);
    if (has_second_half_) {
      tiles_.write<2>(sums_.at + kTileSide * sums_.row_stride, sums_.row_stride);
      tiles_.write<3>(sums_.at + kTileSide * sums_.row_stride + kTileSide, sums_.row_stride);
    }
    sums_.at += kPanelWidth;
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
    constexpr Use kUseOfA = kAddsToSums ? Use::kAgain : Use::kOnce;
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
  bool has_second_half_ = false, is_new_panel_ = true;
  int steps_ = 0, portions_left_ = 0;
  int step_ = 0, a_part_ = 0, b_part_ = 0;
};

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
