// `metalhead.Device`: a handle to one of the process's devices.
#pragma once

#include "bindings/casters.h"

#include "core/device.h"

namespace metalhead::python {

namespace nb = nanobind;

/// Devices live as long as the process; handles only point at them.
struct DeviceHandle {
  Device* device;
};

/// None means the default device; a string names one; a Device is itself. Throws DeviceError or TypeError.
Device& device_from_python(nb::handle object);

void bind_device(nb::module_& module);

}  // namespace metalhead::python
