// Checks a dispatch, prepares its memory and runs its threadgroups.
#include "execution.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "sanitizers.h"
#include "tracker.h"

__thread const SimtConstantValues* simt_constant_values = nullptr;

namespace metalhead::simt {
namespace {

thread_local Execution* current_execution = nullptr;

constexpr std::size_t kThreadgroupLengthMultiple = 16;

#ifdef METALHEAD_SIMT_ASAN
constexpr bool kIsolateAlways = true;
#else
constexpr bool kIsolateAlways = false;
#endif

std::string quoted(const std::string& name) { return "kernel '" + name + "': "; }

bool is_empty(const Size& size) { return size.x == 0 || size.y == 0 || size.z == 0; }

std::string text_of(const Size& size) {
  return "(" + std::to_string(size.x) + ", " + std::to_string(size.y) + ", " + std::to_string(size.z) + ")";
}

std::string check_sizes(const Dispatch& dispatch) {
  const KernelInfo& kernel = *dispatch.kernel;
  const Size& threads = dispatch.threads_per_threadgroup;
  if (is_empty(dispatch.threadgroups) || is_empty(threads))
    return quoted(kernel.name) + "threadgroups " + text_of(dispatch.threadgroups) + " and threads " +
           text_of(threads) + " must not be zero";
  const std::size_t count = std::size_t{threads.x} * threads.y * threads.z;
  const std::size_t limit = std::min(kernel.max_threads_per_threadgroup, kMaxThreadsPerThreadgroup);
  if (count > limit)
    return quoted(kernel.name) + "threads " + text_of(threads) + " make " + std::to_string(count) +
           " in a threadgroup, the limit is " + std::to_string(limit);
  return {};
}

}  // namespace

Execution* Execution::current() { return current_execution; }

Execution::Execution(const Dispatch& dispatch)
    : dispatch_(dispatch), kernel_(*dispatch.kernel), previous_(current_execution) {
  current_execution = this;
  simt_constant_values = &constants_;
}

Execution::~Execution() {
  current_execution = previous_;
  simt_constant_values = previous_ != nullptr ? &previous_->constants_ : nullptr;
}

void Execution::report(std::string error) {
  if (scheduler_ != nullptr && scheduler_->is_running()) {
    scheduler_->report(std::move(error));
  } else {
    result_.error = std::move(error);
  }
}

void Execution::leave() {
  if (scheduler_ != nullptr && scheduler_->is_running()) scheduler_->leave();
  std::longjmp(argument_check_, 1);
}

std::string Execution::set_constants() {
  for (const ConstantInfo& constant : kernel_.constants) {
    auto given = dispatch_.constants.find(constant.index);
    if (given == dispatch_.constants.end()) continue;
    if (given->second.size() != constant.bytes)
      return quoted(kernel_.name) + "function constant " + std::to_string(constant.index) + " (`" +
             constant.name + "`) has " + std::to_string(given->second.size()) + " bytes, its type " +
             constant.type + " has " + std::to_string(constant.bytes);
    constants_.defined[constant.index] = 1;
    std::memcpy(constants_.values[constant.index], given->second.data(), constant.bytes);
  }
  return {};
}

// A condition is kernel code: reading an undefined constant there comes back through leave().
std::string Execution::check_arguments() {
  if (setjmp(argument_check_) != 0) return result_.error;
  for (int i = 0; i < kernel_.kernel->argument_count; ++i) {
    const SimtArgument& argument = kernel_.kernel->arguments[i];
    if (argument.enabled != nullptr && !argument.enabled()) continue;
    if (argument.kind == kSimtBuffer) {
      if (std::string error = check_buffer(argument); !error.empty()) return error;
    } else if (argument.kind == kSimtThreadgroup && dispatch_.threadgroup_bytes[argument.index] == 0) {
      return quoted(kernel_.name) + "threadgroup memory " + std::to_string(argument.index) + " (`" +
             argument.name + "`) has no length";
    }
  }
  return check_threadgroup_memory();
}

std::string Execution::check_buffer(const SimtArgument& argument) {
  const BufferRange& range = dispatch_.buffers[argument.index];
  const std::string what = quoted(kernel_.name) + "buffer " + std::to_string(argument.index) + " (`" +
                           argument.name + "`, " + argument.type + ")";
  if (range.data == nullptr) return what + " is not bound";
  if (range.length < argument.element_bytes)
    return what + " has " + std::to_string(range.length) + " bytes, the argument needs " +
           std::to_string(argument.element_bytes);
  if (argument.element_align > 0 && reinterpret_cast<std::size_t>(range.data) % argument.element_align != 0)
    return what + " is not aligned to " + std::to_string(argument.element_align) + " bytes";
  return {};
}

std::string Execution::check_threadgroup_memory() {
  std::size_t total = kernel_.static_threadgroup_bytes;
  for (const ArgumentInfo& argument : kernel_.threadgroup_arguments) {
    const std::size_t bytes = dispatch_.threadgroup_bytes[argument.index];
    if (bytes % kThreadgroupLengthMultiple != 0)
      return quoted(kernel_.name) + "threadgroup memory " + std::to_string(argument.index) + " (`" +
             argument.name + "`) has " + std::to_string(bytes) + " bytes, which is not a multiple of 16";
    total += bytes;
  }
  if (total > kMaxThreadgroupBytes)
    return quoted(kernel_.name) + std::to_string(total) + " bytes of threadgroup memory (" +
           std::to_string(kernel_.static_threadgroup_bytes) + " of them static), the limit is " +
           std::to_string(kMaxThreadgroupBytes);
  return {};
}

void Execution::prepare() {
  const Size &grid = dispatch_.threadgroups, &threads = dispatch_.threads_per_threadgroup;
  call_.threads_per_threadgroup = {threads.x, threads.y, threads.z};
  call_.threadgroups_per_grid = {grid.x, grid.y, grid.z};
  call_.threads_per_grid = {grid.x * threads.x, grid.y * threads.y, grid.z * threads.z};
  call_.simdgroups_per_threadgroup = (threads.x * threads.y * threads.z + kSimtLanes - 1) / kSimtLanes;
  const bool isolate = kernel_.instrumented || kIsolateAlways;
  memory_ = std::make_unique<DispatchMemory>(dispatch_, call_, isolate, kernel_.instrumented);
  result_.counters.threadgroup_bytes = memory_->threadgroup_bytes();
  scheduler_ = std::make_unique<Scheduler>(kernel_, dispatch_, call_, result_.counters);
  if (kernel_.instrumented) tracker_ = std::make_unique<Tracker>(*this, kernel_, memory_->regions());
}

void Execution::run_threadgroups() {
  const Size& grid = dispatch_.threadgroups;
  std::vector<std::uint64_t> order(std::uint64_t{grid.x} * grid.y * grid.z);
  std::iota(order.begin(), order.end(), std::uint64_t{0});
  Random random(dispatch_.seed ^ 0x5851f42d4c957f2du);
  if (dispatch_.seed != 0) random.shuffle(order);
  const Size& threads = dispatch_.threads_per_threadgroup;
  for (std::uint64_t index : order) {
    const Size position{static_cast<std::uint32_t>(index % grid.x),
                        static_cast<std::uint32_t>(index / grid.x % grid.y),
                        static_cast<std::uint32_t>(index / grid.x / grid.y)};
    memory_->poison_threadgroup_memory();
    if (tracker_) tracker_->begin_threadgroup();
    result_.error = scheduler_->run(position, tracker_.get());
    if (!result_.error.empty()) break;
    ++result_.counters.threadgroups;
    result_.counters.threads += std::uint64_t{threads.x} * threads.y * threads.z;
  }
  if (tracker_) {
    tracker_->explain(result_.error);
    result_.counters.traffic = tracker_->traffic();
  }
  if (!result_.error.empty()) result_.error = quoted(kernel_.name) + result_.error;
}

Result Execution::run() {
  result_.error = check_sizes(dispatch_);
  if (result_.error.empty()) result_.error = set_constants();
  if (result_.error.empty()) result_.error = check_arguments();
  if (!result_.error.empty()) return result_;
  prepare();
  if (tracker_) result_.error = tracker_->check_overlaps(dispatch_);
  if (!result_.error.empty()) {
    result_.error = quoted(kernel_.name) + result_.error;
    return result_;
  }
  run_threadgroups();
  memory_->write_back(dispatch_);
  return result_;
}

Result run(const Dispatch& dispatch) {
  if (dispatch.kernel == nullptr) return {"no kernel given", {}};
  return Execution(dispatch).run();
}

}  // namespace metalhead::simt
