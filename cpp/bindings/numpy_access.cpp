#include "bindings/numpy_access.h"

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_1_23_API_VERSION
#include <numpy/arrayobject.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "core/error.h"

namespace metalhead::python {

namespace {

// Objects that live as long as the interpreter; never released, so that exit order does not matter.
struct NumpyState {
  int bfloat16_type_number = -1;
  PyObject* bfloat16_type = nullptr;
  PyObject* numpy = nullptr;
};
NumpyState state;

PyArrayObject* as_array(nb::handle object) { return reinterpret_cast<PyArrayObject*>(object.ptr()); }

bool dtype_of(int type_number, DType& dtype) {
  switch (type_number) {
    case NPY_FLOAT32:
      dtype = DType::kFloat32;
      return true;
    case NPY_FLOAT16:
      dtype = DType::kFloat16;
      return true;
    case NPY_UINT8:
      dtype = DType::kUInt8;
      return true;
    case NPY_INT32:
      dtype = DType::kInt32;
      return true;
    case NPY_BOOL:
      dtype = DType::kBool;
      return true;
    default:
      dtype = DType::kBFloat16;
      return type_number == state.bfloat16_type_number;
  }
}

int type_number_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return NPY_FLOAT32;
    case DType::kFloat16:
      return NPY_FLOAT16;
    case DType::kBFloat16:
      return state.bfloat16_type_number;
    case DType::kUInt8:
      return NPY_UINT8;
    case DType::kInt32:
      return NPY_INT32;
    case DType::kBool:
      return NPY_BOOL;
  }
  return NPY_NOTYPE;
}

/// Strides in elements; false if kernels cannot take them.
bool read_strides(PyArrayObject* array, Tensor& tensor) {
  const npy_intp* strides = PyArray_STRIDES(array);
  const int64_t item = size_of(tensor.dtype);
  const size_t rank = static_cast<size_t>(tensor.rank);
  for (size_t axis = 0; axis < rank; ++axis) {
    tensor.strides[axis] = 0;
    if (tensor.shape[axis] <= 1) continue;
    if (strides[axis] < 0 || strides[axis] % item != 0) return false;
    tensor.strides[axis] = strides[axis] / item;
  }
  if (rank > 0 && tensor.shape[rank - 1] <= 1) tensor.strides[rank - 1] = 1;
  return rank == 0 || tensor.strides[rank - 1] == 1;
}

PyObject* import_or_throw() {
  if (_import_array() < 0) throw nb::python_error();
  return nullptr;
}

}  // namespace

void import_numpy() {
  import_or_throw();
  const nb::object bfloat16 = nb::module_::import_("ml_dtypes").attr("bfloat16");
  nb::object numpy = nb::module_::import_("numpy");
  state.bfloat16_type_number = nb::cast<int>(numpy.attr("dtype")(bfloat16).attr("num"));
  state.bfloat16_type = nb::object(bfloat16).release().ptr();
  state.numpy = numpy.release().ptr();
}

bool is_numpy(nb::handle object) { return PyArray_Check(object.ptr()); }

bool is_numpy_bool(nb::handle object) { return PyArray_IsScalar(object.ptr(), Bool); }

bool is_read_only(nb::handle array) { return !PyArray_ISWRITEABLE(as_array(array)); }

NumpyLayout describe_numpy(nb::handle object, Tensor& tensor) {
  PyArrayObject* array = as_array(object);
  if (!dtype_of(PyArray_TYPE(array), tensor.dtype)) return NumpyLayout::kWrongDtype;
  const int rank = PyArray_NDIM(array);
  if (rank > kMaxRank) throw ValueError(concat("arrays may have at most ", kMaxRank, " axes, got ", rank));
  tensor.rank = rank;
  std::copy_n(PyArray_DIMS(array), rank, tensor.shape.begin());
  const bool native = PyArray_ISALIGNED(array) && PyArray_ISNOTSWAPPED(array);
  const bool contiguous = PyArray_IS_C_CONTIGUOUS(array);  // as NumPy calls every empty array
  if (contiguous || !native || !read_strides(array, tensor)) {
    set_contiguous_strides(tensor);
    if (!(contiguous && native) && PyArray_SIZE(array) > 0) return NumpyLayout::kNeedsCopy;
  }
  tensor.buffer.contents = PyArray_DATA(array);
  tensor.buffer.size = contiguous ? static_cast<uint64_t>(PyArray_NBYTES(array)) : tensor.span_bytes();
  tensor.byte_offset = 0;
  return NumpyLayout::kUsable;
}

std::string text_of(nb::handle object) {
  const nb::object text = nb::steal(PyObject_Str(object.ptr()));
  if (!text.is_valid()) throw nb::python_error();
  return PyUnicode_AsUTF8(text.ptr());
}

std::string type_text(nb::handle object) { return Py_TYPE(object.ptr())->tp_name; }

std::string numpy_dtype_text(nb::handle array) { return text_of(array.attr("dtype")); }

nb::object numpy_dtype(DType dtype) {
  return nb::steal(reinterpret_cast<PyObject*>(PyArray_DescrFromType(type_number_of(dtype))));
}

DType dtype_from_python(nb::handle object) {
  DType dtype;
  if (nb::isinstance<nb::str>(object) && nb::cast<std::string>(object) == "bfloat16") return DType::kBFloat16;
  const nb::object descriptor = nb::handle(state.numpy).attr("dtype")(object);
  if (dtype_of(nb::cast<int>(descriptor.attr("num")), dtype)) return dtype;
  throw TypeError(
      concat("dtype must be float32, float16, bfloat16, uint8, int32 or bool, got ", text_of(descriptor)));
}

nb::object new_numpy(std::span<const int64_t> shape, DType dtype, Tensor& tensor) {
  std::array<npy_intp, kMaxRank> dims{};
  std::copy(shape.begin(), shape.end(), dims.begin());
  const int rank = static_cast<int>(shape.size());
  nb::object array = nb::steal(PyArray_SimpleNew(rank, dims.data(), type_number_of(dtype)));
  if (!array.is_valid()) throw nb::python_error();
  tensor.dtype = dtype;
  tensor.rank = rank;
  std::copy(shape.begin(), shape.end(), tensor.shape.begin());
  set_contiguous_strides(tensor);
  tensor.buffer.contents = PyArray_DATA(as_array(array));
  tensor.buffer.size = tensor.span_bytes();
  return array;
}

nb::object numpy_view(const Tensor& tensor, nb::handle owner) {
  std::array<npy_intp, kMaxRank> dims{}, strides{};
  for (size_t i = 0; i < static_cast<size_t>(tensor.rank); ++i) {
    dims[i] = tensor.shape[i];
    strides[i] = tensor.strides[i] * size_of(tensor.dtype);
  }
  PyArray_Descr* descriptor = PyArray_DescrFromType(type_number_of(tensor.dtype));
  PyObject* array = PyArray_NewFromDescr(&PyArray_Type, descriptor, tensor.rank, dims.data(), strides.data(),
                                         tensor.data(), NPY_ARRAY_WRITEABLE | NPY_ARRAY_ALIGNED, nullptr);
  if (array == nullptr) throw nb::python_error();
  nb::object result = nb::steal(array);
  if (PyArray_SetBaseObject(as_array(result), nb::borrow(owner).release().ptr()) < 0)
    throw nb::python_error();
  return result;
}

nb::object numpy_copy(nb::handle object) {
  const nb::handle numpy(state.numpy);
  const nb::object array = numpy.attr("asarray")(object);
  const nb::object native =
      array.attr("astype")(array.attr("dtype").attr("newbyteorder")("="), nb::arg("order") = "C");
  return native;
}

}  // namespace metalhead::python
