// Builds the launches of kernels that handle one vector at a time: the codec's and the rotation's.
#pragma once

#include "core/device.h"
#include "metal/params/codec_params.h"
#include "metal/params/function_constants.h"
#include "ops/tq_format.h"
#include "ops/vector_axes.h"

namespace metalhead {

/// Rows of one threadgroup; the grid is (ceil(rows / 64), middle, outer).
constexpr int64_t kVectorRowsPerGroup = 64;

/// A launch over one block of vectors, and its params until it runs.
struct VectorLaunch {
  Launch launch;
  CodecParams params{};

  VectorLaunch(const char* kernel, const VectorBlock& block, int head_dim, const SignBits& signs);

  /// Binds the block's part of a tensor, which is number `index` of the block, and sets its strides.
  void bind(int slot, const Tensor& tensor, const VectorBlock& block, size_t index,
            metalhead_long (&strides)[3], Access access);

  void run(Device& device);
};

/// Calls `visit` with the tensors' element offsets for every vector of the block, rows innermost.
template <class Visit>
void for_each_vector_of(const VectorBlock& block, const Visit& visit) {
  std::array<int64_t, kMaxVectorTensors> at;
  for (int64_t o = 0; o < block.sizes[0]; ++o) {
    for (int64_t m = 0; m < block.sizes[1]; ++m) {
      for (int64_t r = 0; r < block.sizes[2]; ++r) {
        for (size_t t = 0; t < at.size(); ++t) {
          at[t] =
              block.offsets[t] + o * block.strides[t][0] + m * block.strides[t][1] + r * block.strides[t][2];
        }
        visit(at);
      }
    }
  }
}

}  // namespace metalhead
