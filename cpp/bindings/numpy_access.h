// The only place that touches NumPy's C API: arrays to tensors and back.
#pragma once

#include "bindings/casters.h"

#include <optional>
#include <span>

#include "core/tensor.h"

namespace metalhead::python {

namespace nb = nanobind;

/// Loads NumPy's C API and learns ml_dtypes' bfloat16; call once when the module is imported.
void import_numpy();

bool is_numpy(nb::handle object);

/// True for NumPy's scalar booleans.
bool is_numpy_bool(nb::handle object);

/// True if NumPy forbids writing to the array.
bool is_read_only(nb::handle array);

/// Where and why an array cannot be used as it is.
enum class NumpyLayout { kUsable, kNeedsCopy, kWrongDtype };

/// Describes the array's memory. kNeedsCopy: byte-swapped, misaligned, a negative or odd stride, or a strided
/// last axis.
NumpyLayout describe_numpy(nb::handle array, Tensor& tensor);

/// What `str(object)` gives.
std::string text_of(nb::handle object);

/// The name of the object's type.
std::string type_text(nb::handle object);

/// NumPy's own text for the array's dtype.
std::string numpy_dtype_text(nb::handle array);

/// A NumPy scalar type object for the dtype (ml_dtypes.bfloat16 for bfloat16).
nb::object numpy_dtype(DType dtype);

/// The dtype that a Python object (string, NumPy dtype or scalar type) means; throws TypeError.
DType dtype_from_python(nb::handle object);

/// A new contiguous array with undefined contents, described by `tensor`.
nb::object new_numpy(std::span<const int64_t> shape, DType dtype, Tensor& tensor);

/// An array that shares the tensor's memory and keeps `owner` alive.
nb::object numpy_view(const Tensor& tensor, nb::handle owner);

/// A C-contiguous, aligned copy in native byte order, made by NumPy.
nb::object numpy_copy(nb::handle object);

}  // namespace metalhead::python
