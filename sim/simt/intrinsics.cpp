// What kernels call: barriers, collectives, function constants and threadgroup variables.
#include "execution.h"
#include "simt_kernel_abi.h"

namespace {

using metalhead::simt::Execution;
using metalhead::simt::LaneState;

std::string at(SimtPlace place) {
  return " at " + std::string(place.file) + ":" + std::to_string(place.line);
}

std::string running_thread(Execution& execution) {
  auto& scheduler = execution.scheduler();
  return scheduler.is_running() ? " by " + scheduler.describe(scheduler.lane()) : std::string();
}

void report_undefined_constant(Execution& execution, int index, const char* name, SimtPlace place) {
  execution.report("function constant " + std::to_string(index) + " (`" + name + "`) is read" + at(place) +
                   " but was not given a value");
}

void report_failure(Execution& execution, const char* message, SimtPlace place) {
  execution.report(message + at(place) + running_thread(execution));
}

void report_foreign_variable(Execution& execution, const SimtThreadgroupVariable& variable) {
  execution.report("threadgroup variable `" + std::string(variable.name) + "` (line " +
                   std::to_string(variable.line) + ") belongs to another kernel, which this one calls");
}

}  // namespace

void simt_barrier(int scope, unsigned memory_flags, SimtPlace place) {
  const bool whole = scope == kSimtBarrierThreadgroup;
  Execution::current()->scheduler().wait(
      whole ? LaneState::kThreadgroupBarrier : LaneState::kSimdgroupBarrier,
      whole ? "threadgroup_barrier" : "simdgroup_barrier", place, memory_flags, nullptr, nullptr);
}

void simt_collective(const char* operation, void* operand, SimtCombine combine, unsigned flags,
                     SimtPlace place) {
  Execution::current()->scheduler().wait(LaneState::kCollective, operation, place, flags, combine, operand);
}

unsigned simt_lane() { return Execution::current()->scheduler().lane().position.lane; }

void* simt_threadgroup_variable(const SimtThreadgroupVariable* variable) {
  Execution& execution = *Execution::current();
  void* found = execution.memory().variable(variable);
  if (found != nullptr) return found;
  report_foreign_variable(execution, *variable);
  execution.leave();
}

void simt_undefined_constant(int index, const char* name, SimtPlace place) {
  report_undefined_constant(*Execution::current(), index, name, place);
  Execution::current()->leave();
}

void simt_fail(const char* message, SimtPlace place) {
  report_failure(*Execution::current(), message, place);
  Execution::current()->leave();
}

void simt_matrix_multiplied() { ++Execution::current()->counters().matrix_multiplies; }
