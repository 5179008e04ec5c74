// `metalhead.Array`: memory of a device, seen by NumPy without a copy.
#pragma once

#include "bindings/casters.h"

#include <memory>
#include <span>
#include <string>

#include "core/device.h"
#include "core/tensor.h"

namespace metalhead::python {

namespace nb = nanobind;

/// A pooled buffer shared by an array and its views.
class ArrayStorage {
 public:
  ArrayStorage(Device& device, uint64_t bytes) : device_(device), buffer_(device.allocate(bytes)) {}
  ~ArrayStorage() { device_.release(buffer_); }
  ArrayStorage(const ArrayStorage&) = delete;
  ArrayStorage& operator=(const ArrayStorage&) = delete;

  Device& device() const { return device_; }
  const Buffer& buffer() const { return buffer_; }

 private:
  Device& device_;
  Buffer buffer_;
};

/// A strided view of a storage; copies of the object share the memory.
struct Array {
  std::shared_ptr<ArrayStorage> storage;
  Tensor tensor;

  Device& device() const { return storage->device(); }
};

/// A new contiguous array with undefined contents; throws ValueError on shapes that overflow, MemoryError.
Array make_array(Device& device, std::span<const int64_t> shape, DType dtype);

/// Whether the object is an Array; a test of types, where nanobind's own looks the class up first.
bool is_array(nb::handle object);

void bind_array(nb::module_& module);

}  // namespace metalhead::python
