// Lets other Python threads run while a kernel does, also while the interpreter shuts down.
#pragma once

#include "bindings/casters.h"

#include <cstdint>

namespace metalhead::python {

namespace nb = nanobind;

/// Releases the GIL for a scope. Once the interpreter exits it keeps the GIL instead: a thread that asked for
/// it back then would be ended by Python in the middle of C++ code, which aborts the process.
class GilRelease {
 public:
  GilRelease();
  ~GilRelease();
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_ = nullptr;
};

/// Registers the exit handler that lets calls under way finish.
void bind_gil(nb::module_& module);

}  // namespace metalhead::python
