// Cuts a worker's scratch memory into arrays of floats that each start on a cache line.
#pragma once

#include "devices/cpu/kernel_table.h"
#include "devices/cpu/kernels/simd.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Two passes: sizes are counted first, addresses handed out after `reserve`.
class ScratchLayout {
 public:
  /// Adds an array of `count` floats and returns its place.
  METALHEAD_INLINE int64_t add(int64_t count) {
    const int64_t place = floats_;
    floats_ += round_up(count, kLineFloats);
    return place;
  }
  METALHEAD_INLINE float* reserve(Scratch& scratch) const {
    return reinterpret_cast<float*>(scratch.reserve(static_cast<size_t>(floats_) * sizeof(float)));
  }

 private:
  int64_t floats_ = 0;
};

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
