// Turns Python arrays into tensors that a device can use, and results back into arrays of the caller's kind.
#pragma once

#include "bindings/casters.h"

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "bindings/array.h"
#include "bindings/foreign_array.h"
#include "core/device.h"
#include "core/tensor.h"

namespace metalhead::python {

/// What kind of object an array came as; a result is returned as the same kind.
enum class ArrayKind { kNumpy, kArray, kForeign };

/// The kind that the object would be if it is an array at all, which `Operand::input` finds out.
ArrayKind kind_of(nb::handle object);

/// The device of a call: the one named, else the one that holds an Array among the operands, else the
/// default. Throws ValueError if operands live on another device than the call's.
Device& device_of_call(const char* op, nb::handle device, std::span<const nb::handle> operands);

/// One array argument. Keeps the object alive, and a pooled copy of it where the device needs one.
class Operand {
 public:
  /// An input, described but not touched: `tensor()` has its shape and dtype. Wrong dtypes throw TypeError.
  static Operand input(const char* op, const char* name, nb::handle object);

  /// Makes an input's memory usable, once the call has passed its checks: copies layouts that kernels cannot
  /// take, and host memory for a device that reads only its own. `contiguous`: gaps between elements are
  /// copied away too.
  void prepare(Device& device, bool contiguous = false);

  /// A result given by the caller: must be writable, and laid out as kernels write it.
  static Operand output(const char* op, nb::handle object);

  /// Gives a device that writes only its own memory a buffer for the result, from which `finish` copies.
  void prepare_output(Device& device);

  /// A new result of that kind.
  static Operand result(ArrayKind kind, std::span<const int64_t> shape, DType dtype, Device& device);

  const Tensor& tensor() const { return tensor_; }

  /// True if the host must wait for the device before it returns: host memory takes part in the call.
  bool needs_wait() const { return needs_wait_; }

  /// Copies a staged result to where the caller wants it; the device must have finished.
  void finish() const;

  /// The Python object of a result, as the kind of `prototype`.
  nb::object to_python(ArrayKind kind, nb::handle prototype) const;

 private:
  void describe(const char* op, const char* name, nb::handle object, Use use);
  void use_host_memory(Device& device);
  void copy_to_pool(Device& device);

  Tensor tensor_;
  nb::object owner_;                       ///< keeps the memory alive
  std::shared_ptr<ArrayStorage> storage_;  ///< of an Array
  ScratchBuffer staged_;
  std::optional<Tensor> host_;  ///< where a staged result goes
  bool needs_wait_ = false;
  bool needs_numpy_copy_ = false;
};

}  // namespace metalhead::python
