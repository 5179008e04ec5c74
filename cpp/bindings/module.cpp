// The extension module metalhead._core: registers errors, devices, arrays and operations.
#include "bindings/casters.h"

#include "bindings/array.h"
#include "bindings/attention_call.h"
#include "bindings/device.h"
#include "bindings/gil.h"
#include "bindings/native_function.h"
#include "bindings/numpy_access.h"
#include "bindings/turboquant.h"
#include "core/error.h"

namespace nb = nanobind;

namespace {

// Python's own classes stand for our value, type and memory errors; kernel and device errors get classes.
void register_errors(nb::module_& module) {
  nb::exception<metalhead::KernelError>(module, "KernelError", PyExc_RuntimeError);
  nb::exception<metalhead::DeviceError>(module, "DeviceError", PyExc_RuntimeError);
  nb::register_exception_translator([](const std::exception_ptr& pointer, void*) {
    try {
      std::rethrow_exception(pointer);
    } catch (const metalhead::ValueError& error) {
      PyErr_SetString(PyExc_ValueError, error.what());
    } catch (const metalhead::TypeError& error) {
      PyErr_SetString(PyExc_TypeError, error.what());
    } catch (const metalhead::MemoryError& error) {
      PyErr_SetString(PyExc_MemoryError, error.what());
    }
  });
}

}  // namespace

NB_MODULE(_core, module) {
  module.doc() = "The native core of metalhead: devices, arrays and operations.";
  metalhead::python::import_numpy();
  register_errors(module);
  metalhead::python::bind_gil(module);
  metalhead::python::bind_device(module);
  metalhead::python::bind_array(module);
  metalhead::python::bind_native_function(module);
  metalhead::python::define_attention();
  metalhead::python::bind_turboquant(module);
}
