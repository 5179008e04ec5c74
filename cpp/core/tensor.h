// Plain descriptions of memory: a buffer, and a strided tensor inside one. Neither owns anything.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/dtype.h"

namespace metalhead {

/// Memory that a device can read and the host can see.
struct Buffer {
  void* contents = nullptr;  ///< host address of the first byte
  uint64_t size = 0;         ///< bytes
  void* handle = nullptr;    ///< the device's own object, nullptr where plain memory is enough
};

constexpr int kMaxRank = 5;

/// A strided view: element (i, j, ...) sits at `byte_offset + size_of(dtype) * (i * strides[0] + ...)`,
/// inside the buffer.
struct Tensor {
  Buffer buffer;
  uint64_t byte_offset = 0;
  DType dtype = DType::kFloat32;
  int rank = 0;
  std::array<int64_t, kMaxRank> shape{};
  std::array<int64_t, kMaxRank> strides{};  ///< in elements, never negative

  bool defined() const { return rank > 0; }
  void* data() const { return static_cast<char*>(buffer.contents) + byte_offset; }
  template <class T>
  T* data_as() const {
    return static_cast<T*>(data());
  }

  /// Product of the shape.
  int64_t element_count() const;

  /// Bytes from the first to one past the last element that indices inside the shape can reach.
  uint64_t span_bytes() const;

  /// True if the elements lie in row-major order without gaps.
  bool is_contiguous() const;
};

/// Row-major strides for `tensor.shape`.
void set_contiguous_strides(Tensor& tensor);

/// `count` float32 elements that start `byte_offset` bytes into the buffer.
Tensor float_vector(const Buffer& buffer, uint64_t byte_offset, int64_t count);

/// True if the two tensors' spans share at least one byte of memory.
bool overlaps(const Tensor& a, const Tensor& b);

/// The shape as Python would print it: `(2, 8, 1, 128)`.
std::string shape_text(const Tensor& tensor);

}  // namespace metalhead
