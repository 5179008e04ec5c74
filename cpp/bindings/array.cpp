#include "bindings/array.h"

#include <cstring>
#include <utility>
#include <vector>

#include "bindings/copy.h"
#include "bindings/device.h"
#include "bindings/foreign_array.h"
#include "bindings/gil.h"
#include "bindings/numpy_access.h"
#include "bindings/operand.h"
#include "bindings/scalars.h"
#include "core/error.h"
#include "devices/device_registry.h"

namespace metalhead::python {

namespace {

constexpr int64_t kMaxArrayBytes = int64_t{1} << 46;

nb::tuple to_tuple(std::span<const int64_t> values) {
  nb::list list;
  for (const int64_t value : values) list.append(value);
  return nb::tuple(list);
}

std::span<const int64_t> shape_of(const Tensor& tensor) {
  return std::span(tensor.shape).first(static_cast<size_t>(tensor.rank));
}

nb::tuple strides_in_bytes(const Array& array) {
  std::vector<int64_t> bytes;
  for (int i = 0; i < array.tensor.rank; ++i) {
    bytes.push_back(array.tensor.strides[static_cast<size_t>(i)] * size_of(array.tensor.dtype));
  }
  return to_tuple(bytes);
}

nb::object to_numpy(nb::handle_t<Array> self) {
  const Array& array = *nb::inst_ptr<Array>(self);
  {
    const GilRelease nogil;
    array.device().wait();
  }
  return numpy_view(array.tensor, self);
}

nb::object dunder_array(nb::handle_t<Array> self, nb::handle dtype, nb::handle copy) {
  nb::object view = to_numpy(self);
  if (!dtype.is_none() && !view.attr("dtype").equal(dtype)) {
    if (copy.ptr() == Py_False)
      throw ValueError("Array: a change of dtype needs a copy, but copy=False was given");
    return view.attr("astype")(dtype);
  }
  return copy.ptr() == Py_True ? view.attr("copy")() : view;
}

constexpr int kDlpackCpu = 1;

Array contiguous_copy(const Array& array) {
  Array copy = make_array(array.device(), shape_of(array.tensor), array.tensor.dtype);
  copy_elements(array.tensor, copy.tensor);
  return copy;
}

void check_dlpack_request(nb::handle stream, nb::handle dl_device) {
  if (!stream.is_none()) throw nb::buffer_error("Array: memory is exported for the CPU, which has no stream");
  if (!dl_device.is_none() && !dl_device.equal(nb::make_tuple(kDlpackCpu, 0))) {
    throw nb::buffer_error("Array: memory can only be exported for the CPU, DLPack device (1, 0)");
  }
}

// The memory is host-visible on every device, so it is exported as CPU memory, after pending work on it.
nb::object to_dlpack(nb::handle_t<Array> self, nb::handle stream, nb::handle max_version,
                     nb::handle dl_device, nb::handle copy) {
  check_dlpack_request(stream, dl_device);
  nb::object owner = nb::borrow(self);
  nb::inst_ptr<Array>(owner)->device().wait();
  if (copy.ptr() == Py_True) owner = nb::cast(contiguous_copy(*nb::inst_ptr<Array>(owner)));
  return dlpack_capsule(nb::inst_ptr<Array>(owner)->tensor, owner, max_version);
}

/// One entry of an index: applies it to the source axis and returns true if the axis stays.
bool apply_index(nb::handle entry, int64_t size, int64_t stride, Tensor& view, uint64_t& offset) {
  const size_t axis = static_cast<size_t>(view.rank);
  if (PySlice_Check(entry.ptr())) {
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(entry.ptr(), &start, &stop, &step) < 0) throw nb::python_error();
    const Py_ssize_t count = PySlice_AdjustIndices(size, &start, &stop, step);
    if (step < 1) throw ValueError(concat("Array: the step of a slice must be positive, got ", step));
    view.shape[axis] = count;
    view.strides[axis] = stride * step;
    if (count > 0) offset += static_cast<uint64_t>(start * stride);
    return true;
  }
  if (!PyIndex_Check(entry.ptr())) {
    throw TypeError("Array: an index must be an integer, a slice, an ellipsis or a tuple of these");
  }
  int64_t index = PyNumber_AsSsize_t(entry.ptr(), PyExc_IndexError);
  if (index == -1 && PyErr_Occurred()) throw nb::python_error();
  if (index < -size || index >= size) {
    throw nb::index_error(
        concat("Array: index ", index, " is out of range for an axis of size ", size).c_str());
  }
  if (index < 0) index += size;
  offset += static_cast<uint64_t>(index * stride);
  return false;
}

std::vector<nb::handle> index_entries(nb::handle key, int rank) {
  std::vector<nb::handle> given;
  if (PyTuple_Check(key.ptr())) {
    for (nb::handle entry : nb::borrow<nb::tuple>(key)) given.push_back(entry);
  } else {
    given.push_back(key);
  }
  static PyObject* const everything = PySlice_New(nullptr, nullptr, nullptr);
  std::vector<nb::handle> entries;
  const bool has_ellipsis =
      std::any_of(given.begin(), given.end(), [](nb::handle e) { return e.ptr() == Py_Ellipsis; });
  const int named = static_cast<int>(given.size()) - (has_ellipsis ? 1 : 0);
  if (named > rank) throw nb::index_error(concat("Array: ", named, " indices for ", rank, " axes").c_str());
  for (nb::handle entry : given) {
    if (entry.ptr() != Py_Ellipsis) {
      entries.push_back(entry);
    } else {
      entries.insert(entries.end(), static_cast<size_t>(rank - named), nb::handle(everything));
    }
  }
  while (static_cast<int>(entries.size()) < rank) entries.push_back(nb::handle(everything));
  return entries;
}

Array view_of(const Array& array, nb::handle key) {
  Array result{array.storage, array.tensor};
  Tensor& view = result.tensor;
  view.rank = 0;
  uint64_t offset = 0;
  const std::vector<nb::handle> entries = index_entries(key, array.tensor.rank);
  for (size_t i = 0; i < entries.size(); ++i) {
    if (apply_index(entries[i], array.tensor.shape[i], array.tensor.strides[i], view, offset)) ++view.rank;
  }
  view.byte_offset += offset * size_of(view.dtype);
  return result;
}

std::string representation(const Array& array) {
  return concat("metalhead.Array(shape=", shape_text(array.tensor), ", dtype=", name_of(array.tensor.dtype),
                ", device='", array.device().name(), "')");
}

std::vector<int64_t> shape_from_python(nb::handle shape) {
  std::vector<int64_t> sizes;
  if (PyIndex_Check(shape.ptr())) {
    sizes.push_back(int_argument("Array", "shape", shape));
  } else {
    for (nb::handle size : nb::iter(shape)) sizes.push_back(int_argument("Array", "shape", size));
  }
  return sizes;
}

Array empty(nb::handle shape, nb::handle dtype, nb::handle device) {
  const std::vector<int64_t> sizes = shape_from_python(shape);
  return make_array(device_from_python(device), sizes, dtype_from_python(dtype));
}

/// A NumPy view of a foreign array in CPU memory, bfloat16 included.
nb::object numpy_from_dlpack(nb::handle object) {
  Operand operand = Operand::input("asarray", "x", object);
  operand.prepare(device("cpu"));
  return numpy_view(operand.tensor(), object);
}

}  // namespace

Array make_array(Device& device, std::span<const int64_t> shape, DType dtype) {
  Tensor tensor;
  tensor.dtype = dtype;
  if (shape.size() > static_cast<size_t>(kMaxRank)) {
    throw ValueError(concat("Array: at most ", kMaxRank, " axes are supported, got ", shape.size()));
  }
  int64_t bytes = size_of(dtype);
  for (const int64_t size : shape) {
    tensor.shape[static_cast<size_t>(tensor.rank++)] = size;
    if (size < 0) throw ValueError(concat("Array: sizes must not be negative, got ", size));
    if (size > 0 && bytes > kMaxArrayBytes / size) {
      throw ValueError(
          concat("Array: shape ", shape_text(tensor), "... is larger than any memory (2^46 bytes)"));
    }
    bytes *= size;
  }
  set_contiguous_strides(tensor);
  auto storage = std::make_shared<ArrayStorage>(device, static_cast<uint64_t>(bytes));
  tensor.buffer = storage->buffer();
  return {std::move(storage), tensor};
}

bool is_array(nb::handle object) {
  static PyTypeObject* const type = reinterpret_cast<PyTypeObject*>(nb::type<Array>().ptr());
  return PyObject_TypeCheck(object.ptr(), type);
}

void bind_array(nb::module_& module) {
  nb::class_<Array>(
      module, "Array",
      "Memory of a device, visible to NumPy without a copy.\n\n"
      "Made by `empty`, `zeros`, `asarray` and by operations on arrays. Indexing with integers, slices and\n"
      "an ellipsis gives a view.")
      .def_prop_ro(
          "shape", [](const Array& a) { return to_tuple(shape_of(a.tensor)); },
          nb::sig("def shape(self) -> tuple[int, ...]"), "Sizes of the axes.")
      .def_prop_ro("strides", &strides_in_bytes, nb::sig("def strides(self) -> tuple[int, ...]"),
                   "Bytes between neighbours along each axis, as in NumPy.")
      .def_prop_ro(
          "dtype", [](const Array& a) { return numpy_dtype(a.tensor.dtype); },
          nb::sig("def dtype(self) -> numpy.dtype[Any]"), "The NumPy dtype.")
      .def_prop_ro(
          "ndim", [](const Array& a) { return a.tensor.rank; }, "Number of axes.")
      .def_prop_ro(
          "size", [](const Array& a) { return a.tensor.element_count(); }, "Number of elements.")
      .def_prop_ro(
          "nbytes", [](const Array& a) { return a.tensor.element_count() * size_of(a.tensor.dtype); },
          "Bytes of the elements.")
      .def_prop_ro(
          "device", [](const Array& a) { return DeviceHandle{&a.device()}; },
          "The device that holds the memory.")
      .def("numpy", &to_numpy, nb::sig("def numpy(self) -> NDArray[Any]"),
           "A NumPy view of the memory; waits for pending work first.")
      .def("__array__", &dunder_array,
           nb::sig("def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]"),
           nb::arg("dtype").none() = nb::none(), nb::arg("copy").none() = nb::none())
      .def("__dlpack__", &to_dlpack, nb::kw_only(), nb::arg("stream").none() = nb::none(),
           nb::arg("max_version").none() = nb::none(), nb::arg("dl_device").none() = nb::none(),
           nb::arg("copy").none() = nb::none(), "The memory as a DLPack capsule, after pending work.")
      .def(
          "__dlpack_device__", [](const Array&) { return nb::make_tuple(kDlpackCpu, 0); },
          nb::sig("def __dlpack_device__(self) -> tuple[int, int]"), "DLPack's name for the CPU.")
      .def("__getitem__", &view_of, nb::arg("key"))
      .def("__len__",
           [](const Array& a) {
             if (a.tensor.rank == 0) throw TypeError("Array: a rank-0 array has no length");
             return a.tensor.shape[0];
           })
      .def("__repr__", &representation);
  module.def(
      "numpy_dtype", [](nb::handle dtype) { return numpy_dtype(dtype_from_python(dtype)); },
      nb::sig("def numpy_dtype(dtype: object) -> numpy.dtype[Any]"), nb::arg("dtype"));
  module.def("numpy_from_dlpack", &numpy_from_dlpack,
             nb::sig("def numpy_from_dlpack(object: object) -> NDArray[Any]"), nb::arg("object"));
  module.def("empty", &empty, nb::arg("shape"), nb::arg("dtype"), nb::arg("device").none() = nb::none());
}

}  // namespace metalhead::python
