#include "bindings/scalars.h"

#include "bindings/array.h"
#include "bindings/numpy_access.h"
#include "core/error.h"

namespace metalhead::python {

namespace {

nb::object numpy() { return nb::module_::import_("numpy"); }

}  // namespace

double float_argument(const char* op, const char* name, nb::handle object) {
  if (PyFloat_CheckExact(object.ptr())) return PyFloat_AS_DOUBLE(object.ptr());
  const double value = PyFloat_AsDouble(object.ptr());
  if (value == -1.0 && PyErr_Occurred()) {
    PyErr_Clear();
    throw TypeError(concat(op, ": ", name, " must be a number, got ", type_text(object)));
  }
  return value;
}

int64_t int_argument(const char* op, const char* name, nb::handle object) {
  if (PyLong_CheckExact(object.ptr())) {
    int overflow = 0;
    const long long small = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
    if (overflow == 0) return small;
  }
  if (PyBool_Check(object.ptr()) || !PyIndex_Check(object.ptr())) {
    throw TypeError(concat(op, ": ", name, " must be an integer, got ", type_text(object)));
  }
  const nb::object index = nb::steal(PyNumber_Index(object.ptr()));
  const long long value = PyLong_AsLongLong(index.ptr());
  if (value == -1 && PyErr_Occurred()) {
    PyErr_Clear();
    throw ValueError(concat(op, ": ", name, " is too large, got ", text_of(index)));
  }
  return value;
}

bool bool_argument(const char* op, const char* name, nb::handle object) {
  if (object.ptr() == Py_True) return true;
  if (object.ptr() == Py_False) return false;
  if (is_numpy_bool(object)) return PyObject_IsTrue(object.ptr()) == 1;
  throw TypeError(concat(op, ": ", name, " must be True or False, got ", type_text(object)));
}

Tensor int32_vector(const char* op, const char* name, nb::handle object, nb::object& owner) {
  Tensor tensor;
  const bool usable = is_numpy(object) && describe_numpy(object, tensor) == NumpyLayout::kUsable;
  if (usable && tensor.dtype == DType::kInt32) {
    owner = nb::borrow(object);
  } else {
    const nb::object array = numpy().attr("asarray")(object);
    const std::string kind = nb::cast<std::string>(array.attr("dtype").attr("kind"));
    if (kind != "i" && kind != "u") {
      throw TypeError(concat(op, ": ", name, " must hold integers, got dtype ", numpy_dtype_text(array)));
    }
    // Clipping keeps values that int32 cannot hold out of range, so that the op's own check names them.
    const nb::object clipped = numpy().attr("clip")(array, -1, INT32_MAX);
    owner = numpy().attr("ascontiguousarray")(clipped, nb::arg("dtype") = "int32");
    describe_numpy(owner, tensor);
  }
  if (tensor.rank != 1)
    throw ValueError(concat(op, ": ", name, " must have shape (batch,), got ", shape_text(tensor)));
  return tensor;
}

nb::object float32_vector(const char* op, const char* name, nb::handle object) {
  if (is_array(object)) return nb::borrow(object);
  Tensor tensor;
  if (is_numpy(object) && describe_numpy(object, tensor) == NumpyLayout::kUsable &&
      tensor.dtype == DType::kFloat32) {
    return nb::borrow(object);
  }
  const nb::object array = numpy().attr("asarray")(object);
  const std::string kind = nb::cast<std::string>(array.attr("dtype").attr("kind"));
  if (kind != "f" && kind != "i" && kind != "u" && kind != "V") {
    throw TypeError(concat(op, ": ", name, " must hold real numbers, got dtype ", numpy_dtype_text(array)));
  }
  return numpy().attr("ascontiguousarray")(array, nb::arg("dtype") = "float32");
}

}  // namespace metalhead::python
