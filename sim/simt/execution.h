// One dispatch while it runs: constants, memory, schedule, tracking.
#pragma once

#include <csetjmp>
#include <memory>
#include <string>

#include "memory.h"
#include "scheduler.h"
#include "simt.h"
#include "simt_kernel_abi.h"

namespace metalhead::simt {

class Tracker;

/// The state of one dispatch; the running one of an OS thread is Execution::current().
class Execution {
 public:
  explicit Execution(const Dispatch& dispatch);
  ~Execution();
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;

  Result run();

  static Execution* current();
  Scheduler& scheduler() { return *scheduler_; }
  Tracker* tracker() { return tracker_.get(); }
  const DispatchMemory& memory() const { return *memory_; }
  Counters& counters() { return result_.counters; }
  /// Keeps an error that kernel code has caused; leave() must follow.
  void report(std::string error);
  /// Leaves the running fiber, or the argument check, for good.
  [[noreturn]] void leave();

 private:
  std::string set_constants();
  std::string check_arguments();
  std::string check_buffer(const SimtArgument& argument);
  std::string check_threadgroup_memory();
  void prepare();
  void run_threadgroups();

  const Dispatch& dispatch_;
  const KernelInfo& kernel_;
  Result result_;
  SimtCall call_{};
  SimtConstantValues constants_{};
  std::unique_ptr<DispatchMemory> memory_;
  std::unique_ptr<Tracker> tracker_;
  std::unique_ptr<Scheduler> scheduler_;
  std::jmp_buf argument_check_;
  Execution* previous_;
};

}  // namespace metalhead::simt
