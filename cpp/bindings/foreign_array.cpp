#include "bindings/foreign_array.h"

#include <nanobind/ndarray.h>

#include <memory>
#include <utility>
#include <vector>

#include "bindings/dlpack_exchange.h"
#include "bindings/numpy_access.h"
#include "core/error.h"

namespace metalhead::python {

namespace {

bool dtype_from_dlpack(nb::dlpack::dtype from, DType& dtype) {
  for (DType each :
       {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kUInt8, DType::kInt32, DType::kBool}) {
    if (dlpack::dtype_of(each) == from) return dtype = each, true;
  }
  return false;
}

/// Where a description came from, for the errors about it.
struct Source {
  const char* op;
  const char* name;
  nb::handle object;
};

void describe(const Source& source, const nb::dlpack::dltensor& from, Tensor& tensor) {
  const auto& [op, name, object] = source;
  if (from.device.device_type != nb::device::cpu::value) {
    throw ValueError(concat(op, ": ", name, " must be in CPU memory, got a DLPack device of type ",
                            from.device.device_type));
  }
  if (!dtype_from_dlpack(from.dtype, tensor.dtype)) {
    throw_wrong_dtype(op, name, text_of(object.attr("dtype")));
  }
  if (from.ndim > kMaxRank) throw ValueError(concat(op, ": ", name, " may have at most ", kMaxRank, " axes"));
  tensor.rank = from.ndim;
  for (size_t i = 0; i < static_cast<size_t>(from.ndim); ++i) tensor.shape[i] = from.shape[i];
  if (from.strides == nullptr) {
    set_contiguous_strides(tensor);
  } else {
    for (size_t i = 0; i < static_cast<size_t>(from.ndim); ++i) {
      tensor.strides[i] = from.shape[i] > 1 ? from.strides[i] : 0;
      if (tensor.strides[i] < 0) throw ValueError(concat(op, ": ", name, " must not have negative strides"));
    }
  }
  tensor.buffer.contents = static_cast<char*>(from.data) + from.byte_offset;
  tensor.buffer.size = tensor.span_bytes();
}

[[noreturn]] void throw_read_only(const Source& source) {
  throw ValueError(concat(source.op, ": ", source.name, " must be writable, got a read-only array"));
}

/// What Python's current error says, with the op and the argument before it.
[[noreturn]] void throw_unreadable(const Source& source) {
  const nb::python_error error;
  const std::string text = text_of(error.value());  // torch's goes on with a list of stack frames
  throw TypeError(concat(source.op, ": ", source.name,
                         " cannot be read through DLPack: ", text.substr(0, text.find('\n'))));
}

bool requires_gradient(nb::handle object) {
  static PyObject* const name = PyUnicode_InternFromString("requires_grad");
  const nb::object answer = nb::steal(PyObject_GetAttr(object.ptr(), name));
  if (!answer.is_valid()) PyErr_Clear();
  return answer.ptr() == Py_True;
}

nb::object describe_exchanged(const dlpack::ExchangeApi& api, const Source& source, Use use, Tensor& tensor) {
  // The C functions would hand it out, unlike `__dlpack__`.
  if (requires_gradient(source.object)) {
    throw TypeError(concat(source.op, ": ", source.name,
                           " requires a gradient, which this does not compute; pass it detached"));
  }
  nb::dlpack::dltensor view;
  if (use == Use::kRead && api.view != nullptr) {
    if (api.view(source.object.ptr(), &view) != 0) throw_unreadable(source);
    describe(source, view, tensor);
    return nb::borrow(source.object);
  }
  // Only a managed tensor says whether it may be written.
  dlpack::ManagedTensor* managed = nullptr;
  if (api.export_managed(source.object.ptr(), &managed) != 0) throw_unreadable(source);
  const std::unique_ptr<dlpack::ManagedTensor, void (*)(dlpack::ManagedTensor*)> held(
      managed, [](dlpack::ManagedTensor* given) {
        if (given->deleter != nullptr) given->deleter(given);
      });
  if (use == Use::kWrite && (managed->flags & dlpack::kReadOnlyFlag) != 0) throw_read_only(source);
  describe(source, managed->tensor, tensor);
  return nb::borrow(source.object);
}

template <class Imported>
nb::object describe_imported(const Source& source, Tensor& tensor) {
  Imported array;
  if (!nb::try_cast(source.object, array)) return {};
  nb::dlpack::dltensor view;
  std::vector<int64_t> shape, strides;
  for (size_t i = 0; i < array.ndim(); ++i) {
    shape.push_back(static_cast<int64_t>(array.shape(i)));
    strides.push_back(array.stride(i));
  }
  view.data = const_cast<void*>(static_cast<const void*>(array.data()));
  view.device = {array.device_type(), array.device_id()};
  view.ndim = static_cast<int32_t>(array.ndim());
  view.dtype = array.dtype();
  view.shape = shape.data();
  view.strides = strides.data();
  describe(source, view, tensor);
  return nb::cast(array);
}

}  // namespace

void throw_not_an_array(const char* op, const char* name, nb::handle object) {
  throw TypeError(concat(op, ": ", name,
                         " must be a NumPy array, a metalhead.Array or an object with __dlpack__, got ",
                         type_text(object)));
}

void throw_wrong_dtype(const char* op, const char* name, const std::string& dtype) {
  throw TypeError(concat(op, ": ", name, " has dtype ", dtype,
                         "; supported are float32, float16, bfloat16, bool, uint8 and int32"));
}

nb::object describe_foreign(const char* op, const char* name, nb::handle object, Use use, Tensor& tensor) {
  const Source source{op, name, object};
  if (const dlpack::ExchangeApi* api = dlpack::exchange_api(object)) {
    return describe_exchanged(*api, source, use, tensor);
  }
  if (!nb::hasattr(object, "__dlpack__")) throw_not_an_array(op, name, object);
  nb::object owner;
  if (use == Use::kWrite) owner = describe_imported<nb::ndarray<>>(source, tensor);
  if (owner.is_valid()) return owner;
  owner = describe_imported<nb::ndarray<nb::ro>>(source, tensor);
  if (!owner.is_valid()) throw_not_an_array(op, name, object);
  if (use == Use::kWrite) throw_read_only(source);
  return owner;
}

nb::object to_foreign(const Array& array, nb::handle prototype) {
  if (const dlpack::ExchangeApi* api = dlpack::exchange_api(prototype)) {
    return dlpack::import_array(*api, array);
  }
  return nb::module_::import_("metalhead._interop").attr("like")(array, prototype);
}

nb::object dlpack_capsule(const Tensor& tensor, nb::handle owner, nb::handle max_version) {
  std::vector<size_t> shape(tensor.shape.begin(), tensor.shape.begin() + tensor.rank);
  const nb::ndarray<nb::array_api> exported(tensor.data(), shape.size(), shape.data(), owner,
                                            tensor.strides.data(), dlpack::dtype_of(tensor.dtype),
                                            nb::device::cpu::value, 0);
  return nb::cast(exported).attr("__dlpack__")(nb::arg("max_version") = max_version);
}

}  // namespace metalhead::python
