// The type behind the decorator `native`: a callable that sorts its arguments and calls C++.
#include "bindings/native_function.h"

#include <nanobind/typing.h>
#include <structmember.h>

#include <algorithm>
#include <array>
#include <exception>
#include <string_view>

#include "core/error.h"

namespace metalhead::python {

namespace {

constexpr size_t kMaxParameters = 24;

struct NativeObject {
  PyObject_HEAD vectorcallfunc call;
  PyObject* attributes;   ///< `__dict__`: what the declaration is called and says
  PyObject* declaration;  ///< the Python function
  NativeRun run;
  size_t positional;  ///< parameters before the `*`
  size_t count;
  std::array<PyObject*, kMaxParameters> names;     ///< interned
  std::array<PyObject*, kMaxParameters> defaults;  ///< nullptr where the caller must give one
};

NativeObject* as_native(PyObject* object) { return reinterpret_cast<NativeObject*>(object); }

PyTypeObject* native_type = nullptr;
PyObject* rethrow_pending = nullptr;
thread_local std::exception_ptr pending;

/// Every function of the core, by name; not destroyed, so that exit order does not matter.
std::vector<NativeFunction>& functions() {
  static std::vector<NativeFunction>& all = *new std::vector<NativeFunction>;
  return all;
}

/// Call sites pass interned names, mostly in the order of the declaration; others are compared as texts.
size_t find_parameter(const NativeObject& f, PyObject* name, size_t start) {
  for (size_t i = start; i < f.count; ++i) {
    if (f.names[i] == name) return i;
  }
  for (size_t i = 0; i < f.count; ++i) {
    if (f.names[i] == name || PyUnicode_Compare(f.names[i], name) == 0) return i;
  }
  return f.count;
}

/// One object for each parameter; false if the call does not fit the declaration.
bool sort_arguments(const NativeObject& f, PyObject* const* given, size_t positional, PyObject* keywords,
                    nb::handle* sorted) {
  if (positional > f.positional) return false;
  for (size_t i = 0; i < positional; ++i) sorted[i] = given[i];
  for (size_t i = positional; i < f.count; ++i) sorted[i] = f.defaults[i];
  const size_t named = keywords == nullptr ? 0 : static_cast<size_t>(PyTuple_GET_SIZE(keywords));
  size_t next = 0;
  for (size_t i = 0; i < named; ++i) {
    const size_t at = find_parameter(f, PyTuple_GET_ITEM(keywords, static_cast<Py_ssize_t>(i)), next);
    if (at == f.count || at < positional) return false;
    sorted[at] = given[positional + i];
    next = at + 1;
  }
  return std::all_of(sorted + positional, sorted + f.count, [](nb::handle h) { return h.is_valid(); });
}

/// Lets Python itself say what is wrong with a call.
PyObject* call_declaration(const NativeObject& f, PyObject* const* given, size_t flags, PyObject* keywords) {
  PyObject* const result = PyObject_Vectorcall(f.declaration, given, flags, keywords);
  if (result == nullptr) return nullptr;
  Py_DECREF(result);
  PyErr_SetString(PyExc_SystemError, "native: the declaration took arguments that the core did not");
  return nullptr;
}

PyObject* call_native(PyObject* self, PyObject* const* given, size_t flags, PyObject* keywords) noexcept {
  const NativeObject& f = *as_native(self);
  std::array<nb::handle, kMaxParameters> arguments;
  if (!sort_arguments(f, given, static_cast<size_t>(PyVectorcall_NARGS(flags)), keywords, arguments.data())) {
    return call_declaration(f, given, flags, keywords);
  }
  try {
    return f.run(arguments.data()).release().ptr();
  } catch (...) {
    pending = std::current_exception();
  }
  return PyObject_CallNoArgs(rethrow_pending);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  const NativeObject& f = *as_native(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(f.attributes);
  Py_VISIT(f.declaration);
  for (PyObject* value : f.defaults) Py_VISIT(value);
  return 0;
}

int clear(PyObject* self) {
  NativeObject& f = *as_native(self);
  Py_CLEAR(f.attributes);
  Py_CLEAR(f.declaration);
  for (PyObject*& value : f.defaults) Py_CLEAR(value);
  return 0;
}

void destroy(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  clear(self);
  for (PyObject* name : as_native(self)->names) Py_XDECREF(name);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* attribute(PyObject* self, const char* name) {
  return PyObject_GetAttrString(as_native(self)->declaration, name);
}

PyObject* represent(PyObject* self) {
  const nb::object name = nb::steal(attribute(self, "__qualname__"));
  return name.is_valid() ? PyUnicode_FromFormat("<native function %U>", name.ptr()) : nullptr;
}

/// Pickled by name, as Python functions are.
PyObject* reduce(PyObject* self, PyObject*) { return attribute(self, "__qualname__"); }

/// In a class it becomes a method, as Python functions do.
PyObject* bind_to(PyObject* self, PyObject* object, PyObject*) {
  if (object == nullptr || object == Py_None) return nb::borrow(self).release().ptr();
  return PyMethod_New(self, object);
}

PyTypeObject* make_type() {
  static PyMemberDef members[] = {
      {"__vectorcalloffset__", T_PYSSIZET, offsetof(NativeObject, call), READONLY, nullptr},
      {"__dictoffset__", T_PYSSIZET, offsetof(NativeObject, attributes), READONLY, nullptr},
      {nullptr, 0, 0, 0, nullptr}};
  static PyMethodDef methods[] = {{"__reduce__", reduce, METH_NOARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef properties[] = {
      {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                                {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
                                {Py_tp_clear, reinterpret_cast<void*>(clear)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
                                {Py_tp_repr, reinterpret_cast<void*>(represent)},
                                {Py_tp_descr_get, reinterpret_cast<void*>(bind_to)},
                                {Py_tp_members, members},
                                {Py_tp_methods, methods},
                                {Py_tp_getset, properties},
                                {0, nullptr}};
  static PyType_Spec spec = {"metalhead._core.NativeFunction", sizeof(NativeObject), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                                 Py_TPFLAGS_DISALLOW_INSTANTIATION,
                             slots};
  PyObject* const type = PyType_FromSpec(&spec);
  if (type == nullptr) throw nb::python_error();
  return reinterpret_cast<PyTypeObject*>(type);
}

/// Throws unless the declaration's parameters are those that the function reads.
void check_declaration(nb::handle declaration, const NativeFunction& function, size_t positional) {
  const nb::object names = declaration.attr("__code__").attr("co_varnames");
  const size_t keyword_only = nb::cast<size_t>(declaration.attr("__code__").attr("co_kwonlyargcount"));
  bool same = positional + keyword_only == function.parameters.size() &&
              function.parameters.size() <= kMaxParameters && declaration.attr("__defaults__").is_none();
  for (size_t i = 0; same && i < function.parameters.size(); ++i) {
    same = std::string_view(nb::cast<const char*>(names[i])) == function.parameters[i];
  }
  if (!same)
    throw TypeError(concat("native: the parameters of ", function.name, " are not those of the core"));
}

nb::object make_native(nb::handle declaration) {
  const nb::object name = declaration.attr("__name__");
  const std::string_view wanted = nb::cast<const char*>(name);
  const auto found = std::find_if(functions().begin(), functions().end(),
                                  [&](const NativeFunction& each) { return each.name == wanted; });
  if (found == functions().end()) throw ValueError(concat("native: the core has no function ", wanted));
  const size_t positional = nb::cast<size_t>(declaration.attr("__code__").attr("co_argcount"));
  check_declaration(declaration, *found, positional);

  // Zeroed, so that an error below leaves an object that can be destroyed.
  const nb::object made = nb::steal(PyType_GenericAlloc(native_type, 0));
  if (!made.is_valid()) throw nb::python_error();
  NativeObject& f = *as_native(made.ptr());
  f.call = call_native;
  f.declaration = nb::borrow(declaration).release().ptr();
  f.run = found->run;
  f.positional = positional;
  f.count = found->parameters.size();
  const nb::object defaults = declaration.attr("__kwdefaults__");
  for (size_t i = 0; i < f.count; ++i) {
    f.names[i] = PyUnicode_InternFromString(found->parameters[i]);
    if (f.names[i] == nullptr) throw nb::python_error();
    PyObject* const value = defaults.is_none() ? nullptr : PyDict_GetItem(defaults.ptr(), f.names[i]);
    f.defaults[i] = nb::borrow(value).release().ptr();
  }
  nb::module_::import_("functools").attr("update_wrapper")(made, declaration);
  return made;
}

}  // namespace

void add_native_function(NativeFunction function) { functions().push_back(std::move(function)); }

void bind_native_function(nb::module_& module) {
  native_type = make_type();
  // nanobind turns exceptions into Python's errors; it does so for a function of its own that throws ours.
  rethrow_pending =
      nb::cpp_function([] { std::rethrow_exception(std::exchange(pending, nullptr)); }).release().ptr();
  module.attr("Declaration") = nb::type_var("Declaration");
  module.def("native", &make_native, nb::sig("def native(declaration: Declaration) -> Declaration"),
             nb::arg("declaration"),
             "Turns a declaration into the core's function of that name and those parameters.");
}

}  // namespace metalhead::python
