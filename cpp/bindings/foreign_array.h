// Arrays of other libraries through DLPack: by the C functions that a library's type offers, else by
// `__dlpack__`.
#pragma once

#include "bindings/casters.h"

#include "bindings/array.h"
#include "core/tensor.h"

namespace metalhead::python {

/// What an array is used for; one that is written must not be read-only.
enum class Use { kRead, kWrite };

/// Describes the memory of an array of another library; returns the object that keeps it alive. Throws
/// TypeError or ValueError for what is no array, not in CPU memory, read-only, or of a dtype without name
/// here.
nb::object describe_foreign(const char* op, const char* name, nb::handle object, Use use, Tensor& tensor);

/// The array as an object of the library that made `prototype`, or as it is if that has no way in.
nb::object to_foreign(const Array& array, nb::handle prototype);

/// The array's memory as a DLPack capsule, kept alive by `owner`.
nb::object dlpack_capsule(const Tensor& tensor, nb::handle owner, nb::handle max_version);

[[noreturn]] void throw_not_an_array(const char* op, const char* name, nb::handle object);

[[noreturn]] void throw_wrong_dtype(const char* op, const char* name, const std::string& dtype);

}  // namespace metalhead::python
