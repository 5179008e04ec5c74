// DLPack's table of C functions, which the types of some libraries offer as `__dlpack_c_exchange_api__`.
#pragma once

#include <nanobind/ndarray.h>
#include "bindings/casters.h"

#include <cstdint>

#include "bindings/array.h"

namespace metalhead::python::dlpack {

struct Version {
  uint32_t major;
  uint32_t minor;
};

constexpr uint64_t kReadOnlyFlag = 1;

/// A tensor that whoever holds it gives back by calling `deleter`.
struct ManagedTensor {
  Version version;
  void* context;
  void (*deleter)(ManagedTensor* self);
  uint64_t flags;
  nb::dlpack::dltensor tensor;
};

/// The table, up to the last function that is used here. Functions return 0, or -1 with Python's error set.
struct ExchangeApi {
  Version version;
  const ExchangeApi* previous;
  void* allocate;
  int (*export_managed)(void* object, ManagedTensor** tensor);
  int (*import_managed)(ManagedTensor* tensor, void** object);  ///< takes the tensor over
  int (*view)(void* object, nb::dlpack::dltensor* tensor);      ///< may be nullptr
};

/// The table of the object's type, nullptr if it offers none of version 1.
const ExchangeApi* exchange_api(nb::handle object);

/// The array as an object of the library behind the table; both share the memory.
nb::object import_array(const ExchangeApi& api, const Array& array);

nb::dlpack::dtype dtype_of(DType dtype);

}  // namespace metalhead::python::dlpack
