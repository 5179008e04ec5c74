// Reads Python scalars with errors that name the op and the argument.
#pragma once

#include "bindings/casters.h"

#include <cstdint>

#include "core/tensor.h"

namespace metalhead::python {

namespace nb = nanobind;

/// A float, an int or a NumPy scalar; throws TypeError for anything else.
double float_argument(const char* op, const char* name, nb::handle object);

/// An integer (anything with `__index__`, but no bool); throws TypeError, or ValueError beyond 64 bits.
int64_t int_argument(const char* op, const char* name, nb::handle object);

/// A bool or NumPy bool; throws TypeError.
bool bool_argument(const char* op, const char* name, nb::handle object);

/// Integers for each sequence as a contiguous int32 array; `owner` keeps it alive.
Tensor int32_vector(const char* op, const char* name, nb::handle object, nb::object& owner);

/// Real numbers for each head as a contiguous float32 NumPy array, unless the object is an Array.
nb::object float32_vector(const char* op, const char* name, nb::handle object);

}  // namespace metalhead::python
