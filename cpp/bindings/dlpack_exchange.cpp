#include "bindings/dlpack_exchange.h"

#include <array>
#include <memory>

namespace metalhead::python::dlpack {

namespace {

constexpr uint32_t kMajorVersion = 1;

/// A storage and the description of one view of it, freed together.
struct Exported {
  ManagedTensor managed{};
  std::array<int64_t, kMaxRank> shape;
  std::array<int64_t, kMaxRank> strides;
  std::shared_ptr<ArrayStorage> storage;
};

void free_exported(ManagedTensor* managed) { delete static_cast<Exported*>(managed->context); }

ManagedTensor* export_array(const Array& array) {
  Exported* const exported = new Exported;
  exported->shape = array.tensor.shape;
  exported->strides = array.tensor.strides;
  exported->storage = array.storage;
  ManagedTensor& managed = exported->managed;
  managed.version = {kMajorVersion, 0};
  managed.context = exported;
  managed.deleter = free_exported;
  managed.tensor.data = array.tensor.data();
  managed.tensor.device = {nb::device::cpu::value, 0};
  managed.tensor.ndim = array.tensor.rank;
  managed.tensor.dtype = dtype_of(array.tensor.dtype);
  managed.tensor.shape = exported->shape.data();
  managed.tensor.strides = exported->strides.data();
  return &managed;
}

const ExchangeApi* find_exchange_api(PyObject* type) {
  static PyObject* const name = PyUnicode_InternFromString("__dlpack_c_exchange_api__");
  const nb::object capsule = nb::steal(PyObject_GetAttr(type, name));
  const void* found = nullptr;
  if (capsule.is_valid()) found = PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api");
  if (found == nullptr) PyErr_Clear();
  const ExchangeApi* api = static_cast<const ExchangeApi*>(found);
  while (api != nullptr && api->version.major != kMajorVersion) api = api->previous;
  return api;
}

}  // namespace

const ExchangeApi* exchange_api(nb::handle object) {
  // The arrays of a program are nearly always of one type; it is kept, so that no other takes its address.
  static PyObject* known_type = nullptr;
  static const ExchangeApi* known_api = nullptr;
  PyObject* const type = reinterpret_cast<PyObject*>(Py_TYPE(object.ptr()));
  if (type != known_type) {
    known_api = find_exchange_api(type);
    Py_XSETREF(known_type, Py_NewRef(type));
  }
  return known_api;
}

nb::object import_array(const ExchangeApi& api, const Array& array) {
  void* object = nullptr;
  if (api.import_managed(export_array(array), &object) != 0) throw nb::python_error();
  return nb::steal(static_cast<PyObject*>(object));
}

nb::dlpack::dtype dtype_of(DType dtype) {
  using Code = nb::dlpack::dtype_code;
  const auto make = [dtype](Code code) {
    return nb::dlpack::dtype{static_cast<uint8_t>(code), static_cast<uint8_t>(8 * size_of(dtype)), 1};
  };
  switch (dtype) {
    case DType::kFloat32:
    case DType::kFloat16:
      return make(Code::Float);
    case DType::kBFloat16:
      return make(Code::Bfloat);
    case DType::kUInt8:
      return make(Code::UInt);
    case DType::kInt32:
      return make(Code::Int);
    case DType::kBool:
      return make(Code::Bool);
  }
  return make(Code::UInt);
}

}  // namespace metalhead::python::dlpack
