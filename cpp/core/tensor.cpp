// Arithmetic on shapes and strides that notices when a product leaves 64 bits.
#include "core/tensor.h"

#include <algorithm>

#include "core/error.h"

namespace metalhead {
namespace {

[[noreturn]] void throw_too_large(const Tensor& tensor) {
  throw ValueError(concat("tensor: sizes must fit in 63 bits, got shape ", shape_text(tensor), " of ",
                          name_of(tensor.dtype)));
}

/// First address and one past the last; handles without contents count from 0.
struct AddressRange {
  uint64_t begin;
  uint64_t end;
};

AddressRange buffer_range(const Buffer& buffer) {
  const uint64_t begin = reinterpret_cast<uintptr_t>(buffer.contents);
  return {begin, begin + buffer.size};
}

AddressRange address_range(const Tensor& tensor) {
  const uint64_t begin = buffer_range(tensor.buffer).begin + tensor.byte_offset;
  return {begin, begin + tensor.span_bytes()};
}

/// True if both hold a common byte; empty ranges hold none.
bool ranges_meet(const AddressRange& a, const AddressRange& b) {
  return std::max(a.begin, b.begin) < std::min(a.end, b.end);
}

}  // namespace

int64_t Tensor::element_count() const {
  int64_t count = 1;
  for (size_t axis = 0; axis < static_cast<size_t>(rank); ++axis) {
    if (shape[axis] == 0) return 0;
  }
  for (size_t axis = 0; axis < static_cast<size_t>(rank); ++axis) {
    if (__builtin_mul_overflow(count, shape[axis], &count)) throw_too_large(*this);
  }
  return count;
}

uint64_t Tensor::span_bytes() const {
  int64_t last = 0;
  bool overflow = false;
  for (size_t axis = 0; axis < static_cast<size_t>(rank); ++axis) {
    if (shape[axis] == 0) return 0;
    int64_t step = 0;
    overflow |= __builtin_mul_overflow(shape[axis] - 1, strides[axis], &step);
    overflow |= __builtin_add_overflow(last, step, &last);
  }
  int64_t bytes = 0;
  overflow |= __builtin_add_overflow(last, int64_t{1}, &last);
  overflow |= __builtin_mul_overflow(last, int64_t{size_of(dtype)}, &bytes);
  if (overflow) throw_too_large(*this);
  return static_cast<uint64_t>(bytes);
}

bool Tensor::is_contiguous() const {
  int64_t expected = 1;
  bool contiguous = true;
  for (size_t axis = static_cast<size_t>(rank); axis-- > 0;) {
    if (shape[axis] == 0) return true;
    // An axis of one element is never stepped along, so its stride says nothing.
    if (shape[axis] > 1 && strides[axis] != expected) contiguous = false;
    if (__builtin_mul_overflow(expected, shape[axis], &expected)) throw_too_large(*this);
  }
  return contiguous;
}

void set_contiguous_strides(Tensor& tensor) {
  int64_t stride = 1;
  for (size_t axis = static_cast<size_t>(tensor.rank); axis-- > 0;) {
    tensor.strides[axis] = stride;
    const int64_t extent = tensor.shape[axis] > 0 ? tensor.shape[axis] : 1;
    if (__builtin_mul_overflow(stride, extent, &stride)) throw_too_large(tensor);
  }
}

Tensor float_vector(const Buffer& buffer, uint64_t byte_offset, int64_t count) {
  Tensor tensor;
  tensor.buffer = buffer;
  tensor.byte_offset = byte_offset;
  tensor.rank = 1;
  tensor.shape[0] = count;
  tensor.strides[0] = 1;
  return tensor;
}

bool overlaps(const Tensor& a, const Tensor& b) {
  const bool comparable = a.buffer.contents != nullptr && b.buffer.contents != nullptr;
  if (!comparable && a.buffer.handle != b.buffer.handle) return false;
  // Most tensors have buffers of their own: then nothing needs to be multiplied out.
  if (!ranges_meet(buffer_range(a.buffer), buffer_range(b.buffer))) return false;
  const AddressRange first = address_range(a);
  const AddressRange second = address_range(b);
  return ranges_meet(first, second);
}

std::string shape_text(const Tensor& tensor) {
  std::string text = "(";
  for (int axis = 0; axis < tensor.rank; ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string(tensor.shape[static_cast<size_t>(axis)]);
  }
  return text + (tensor.rank == 1 ? ",)" : ")");
}

}  // namespace metalhead
