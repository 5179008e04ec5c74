// Makes calls of the Metal look-alike fail on purpose, and sets how it schedules, for tests.
#pragma once

#include <cstdint>
#include <string>

namespace metalhead::sim {

/// What can be made to fail; each is one place where Metal itself may return nil or an error.
enum class Fault {
  kDeviceAbsent,
  kOldDevice,  ///< the device has no Apple7 features
  kQueue,
  kFence,
  kBufferAllocation,
  kBufferWrap,
  kLibraryFile,
  kLibrarySource,
  kFunction,
  kPipeline,
  kCommandBuffer,  ///< no command buffer is handed out
  kEncoder,
  kExecution,  ///< a command buffer ends with an error
  kArchiveCreate,
  kArchiveSerialize,
  kResidencySet,
  kCount,
};

/// Lets `skip` calls of that kind pass, then makes `count` of them fail with `text`.
void inject_fault(Fault fault, const std::string& text = "injected fault", int skip = 0, int count = 1);

/// Takes all injected faults back.
void clear_faults();

/// True if the call at hand must fail; `text` receives the reason.
bool take_fault(Fault fault, std::string* text);

/// Seed for the order of unordered commands, of completion handlers and of a kernel's threads.
void set_schedule_seed(uint64_t seed);
uint64_t schedule_seed();

/// Milliseconds that the GPU idles before it starts a command buffer.
void set_execution_delay(uint32_t milliseconds);
uint32_t execution_delay();

/// Commands that ran since the process started, and those whose touched byte ranges were known and checked.
struct ExecutionCounts {
  uint64_t commands = 0;
  uint64_t checked_commands = 0;
  uint64_t barriers = 0;
  uint64_t pipelines_compiled = 0;
  uint64_t pipelines_from_archive = 0;
};
ExecutionCounts execution_counts();

}  // namespace metalhead::sim
