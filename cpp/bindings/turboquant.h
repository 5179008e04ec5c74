// Registers the functions of the TurboQuant codec and of attention over packed caches.
#pragma once

#include "bindings/casters.h"

namespace metalhead::python {

void bind_turboquant(nanobind::module_& module);

}  // namespace metalhead::python
