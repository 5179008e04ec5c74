#include "bindings/gil.h"

#include <atomic>
#include <chrono>
#include <thread>

namespace metalhead::python {

namespace {

std::atomic<bool> exiting{false};
std::atomic<int> released{0};  // threads between giving the GIL up and having it back

/// Runs while other threads may still call: from now on none gives the GIL up, and those that did get it
/// back.
void finish_calls() {
  exiting = true;
  while (released > 0) {
    PyThreadState* state = PyEval_SaveThread();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    PyEval_RestoreThread(state);
  }
}

}  // namespace

GilRelease::GilRelease() {
  if (exiting) return;
  ++released;
  state_ = PyEval_SaveThread();
}

GilRelease::~GilRelease() {
  if (state_ == nullptr) return;
  PyEval_RestoreThread(state_);
  --released;
}

void bind_gil(nb::module_& module) {
  module.def("_finish_calls", &finish_calls, "Called at exit: waits for calls of other threads.");
  nb::module_::import_("atexit").attr("register")(module.attr("_finish_calls"));
}

}  // namespace metalhead::python
