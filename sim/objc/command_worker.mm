// Runs committed command buffers on a thread of the queue, unordered commands in an order drawn by seed.
#include "objc/command_worker.h"

#include <algorithm>
#include <chrono>
#include <sstream>

#include "objc/device_writes.h"
#include "objc/execution_counters.h"
#include "objc/fault.h"
#include "objc/foundation_objects.h"
#include "objc/validation.h"

namespace metalhead::sim {
namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool touches_tracked_only(const DispatchRecord& dispatch) {
  for (const auto& [index, slot] : dispatch.slots) {
    if (slot.buffer != nil && !slot.buffer->tracked_) return false;
  }
  return true;
}

void fill_call(const DispatchRecord& dispatch, uint64_t seed, KernelCall* call) {
  call->kernel = dispatch.pipeline->kernel_.name;
  call->constants = dispatch.pipeline->constants_;
  call->seed = seed;
  call->threadgroups = {static_cast<uint32_t>(dispatch.threadgroups.width),
                        static_cast<uint32_t>(dispatch.threadgroups.height),
                        static_cast<uint32_t>(dispatch.threadgroups.depth)};
  call->threads = {static_cast<uint32_t>(dispatch.threads.width),
                   static_cast<uint32_t>(dispatch.threads.height),
                   static_cast<uint32_t>(dispatch.threads.depth)};
  for (const auto& [index, slot] : dispatch.slots) {
    KernelCall::Bound& bound = call->buffers[index];
    if (slot.buffer != nil) {
      bound = {slot.buffer->memory_ + slot.offset, slot.buffer->length_ - slot.offset, false};
    } else {
      bound = {const_cast<std::byte*>(slot.bytes.data()), slot.bytes.size(), true};
    }
  }
  for (const auto& [index, length] : dispatch.threadgroup_bytes) {
    call->threadgroup_bytes[static_cast<int>(index)] = static_cast<uint32_t>(length);
  }
}

bool may_write(const DispatchRecord& dispatch, NSUInteger index) {
  for (const KernelArgument& argument : dispatch.pipeline->kernel_.buffers) {
    if (static_cast<NSUInteger>(argument.index) == index) return argument.writes;
  }
  return false;
}

/// Where a written argument follows another in one buffer, the first ends where the second begins.
void separate_written_arguments(const DispatchRecord& dispatch, KernelCall* call) {
  for (const auto& [index, slot] : dispatch.slots) {
    for (const auto& [other_index, other] : dispatch.slots) {
      if (slot.buffer == nil || other.buffer != slot.buffer || other.offset <= slot.offset) continue;
      if (!may_write(dispatch, index) && !may_write(dispatch, other_index)) continue;
      call->buffers[index].length =
          std::min<uint64_t>(call->buffers[index].length, other.offset - slot.offset);
    }
  }
}

/// True if the range lies in memory that `setBytes` gave the command, which nothing else can touch.
bool in_inline_bytes(const TouchedRange& range, const KernelCall& call) {
  for (const KernelCall::Bound& bound : call.buffers) {
    if (bound.read_only && range.begin >= bound.data && range.end <= bound.data + bound.length) return true;
  }
  return false;
}

}  // namespace

std::string find_conflict(const TouchRecord& before, const TouchRecord& now) {
  for (const TouchedRange& a : before.ranges) {
    for (const TouchedRange& b : now.ranges) {
      if ((!a.written && !b.written) || a.end <= b.begin || b.end <= a.begin) continue;
      std::ostringstream text;
      text << "commands are not ordered: " << before.command << (a.written ? " writes " : " reads ") << "and "
           << now.command << (b.written ? " writes " : " reads ")
           << std::min(a.end, b.end) - std::max(a.begin, b.begin) << " bytes at "
           << static_cast<const void*>(std::max(a.begin, b.begin)) << " without a barrier or fence";
      return text.str();
    }
  }
  return "";
}

void CommandWorker::start() {
  thread_ = std::thread([self = shared_from_this()] { self->run_thread(); });
}

void CommandWorker::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  // The last reference may be dropped by the worker itself, when it lets go of a command buffer.
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

void CommandWorker::submit(SimCommandBuffer* command_buffer) {
  {
    std::lock_guard lock(mutex_);
    command_buffer->sequence_ = ++last_sequence_;
    command_buffer->host_synced_ = host_synced_;
    committed_.push_back(command_buffer);
    ++pending_;
  }
  changed_.notify_all();
}

bool CommandWorker::reserve_command_buffer() {
  std::unique_lock lock(mutex_);
  if (alive_ >= kMaxUncompletedCommandBuffers && pending_ == 0) return false;
  changed_.wait(lock, [&] { return alive_ < kMaxUncompletedCommandBuffers; });
  ++alive_;
  return true;
}

void CommandWorker::command_buffer_gone(bool was_committed) {
  {
    std::lock_guard lock(mutex_);
    --alive_;
    if (was_committed) --pending_;
  }
  changed_.notify_all();
}

void CommandWorker::host_waited_for(uint64_t sequence) {
  std::lock_guard lock(mutex_);
  host_synced_ = std::max(host_synced_, sequence);
}

void CommandWorker::run_thread() {
  while (true) {
    @autoreleasepool {
      SimCommandBuffer* next = nil;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stopping_ || !committed_.empty(); });
        if (committed_.empty()) return;
        next = committed_.front();
        committed_.pop_front();
      }
      execute(next);
    }
  }
}

void CommandWorker::execute(SimCommandBuffer* command_buffer) {
  random_.seed(schedule_seed() * 0x9e3779b97f4a7c15u + command_buffer->sequence_);
  command_buffer_ = command_buffer->sequence_;
  std::erase_if(unordered_,
                [&](const TouchRecord& r) { return r.command_buffer <= command_buffer->host_synced_; });
  command_buffer->status_ = MTLCommandBufferStatusScheduled;
  if (const uint32_t delay = execution_delay(); delay != 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(delay));
  }
  const double start = seconds_now();
  std::string error;
  take_fault(Fault::kExecution, &error);
  std::vector<const DispatchRecord*> segment;
  bool concurrent = false;
  const auto flush = [&] {
    if (error.empty()) error = execute_segment(segment, concurrent);
    segment.clear();
  };
  for (const Record& record : command_buffer->records_) {
    if (const auto* dispatch = std::get_if<DispatchRecord>(&record)) {
      segment.push_back(dispatch);
      continue;
    }
    flush();
    if (const auto* begin = std::get_if<EncoderBeginRecord>(&record)) {
      concurrent = begin->concurrent;
      ++encoder_;
      first_ordered_encoder_ = encoder_;
    } else if (std::get_if<BarrierRecord>(&record) != nullptr) {
      execution_counters().barriers += 1;
      forget_encoder(encoder_);
    } else if (const auto* fence = std::get_if<FenceRecord>(&record)) {
      apply_fence(*fence);
    }
  }
  flush();
  [command_buffer finishWithError:error
                            start:start
                              end:std::max(seconds_now(), start + 1e-9)
                    handlersFirst:(random_() & 1) != 0];
}

std::string CommandWorker::execute_segment(std::vector<const DispatchRecord*>& segment, bool concurrent) {
  if (concurrent) std::shuffle(segment.begin(), segment.end(), random_);
  for (const DispatchRecord* dispatch : segment) {
    std::string error = execute_dispatch(*dispatch, random_());
    if (!concurrent) forget_encoder(encoder_);
    if (!error.empty()) return error;
  }
  return "";
}

std::string CommandWorker::execute_dispatch(const DispatchRecord& dispatch, uint64_t seed) {
  KernelCall call;
  fill_call(dispatch, seed, &call);
  separate_written_arguments(dispatch, &call);
  const DeviceWrites writes(call);
  KernelResult result = run_kernel(call);
  writes.announce();
  execution_counters().commands += 1;
  if (!result.error.empty()) return result.error;
  if (!result.ranges_known || touches_tracked_only(dispatch)) return "";
  execution_counters().checked_commands += 1;
  std::erase_if(result.touched, [&](const TouchedRange& range) { return in_inline_bytes(range, call); });
  check_touched(call.kernel, std::move(result.touched));
  return "";
}

void CommandWorker::check_touched(const std::string& command, std::vector<TouchedRange> ranges) {
  TouchRecord now{encoder_, command_buffer_, command, std::move(ranges)};
  for (const TouchRecord& before : unordered_) {
    if (std::string text = find_conflict(before, now); !text.empty()) {
      report_misuse(text);
      break;
    }
  }
  unordered_.push_back(std::move(now));
}

void CommandWorker::apply_fence(const FenceRecord& record) {
  SimFence* fence = record.fence;
  if (record.update) {
    fence->first_covered_ = first_ordered_encoder_;
    fence->last_covered_ = encoder_;
    return;
  }
  if (fence->last_covered_ == 0) return;
  std::erase_if(unordered_, [&](const TouchRecord& r) {
    return r.encoder >= fence->first_covered_ && r.encoder <= fence->last_covered_;
  });
  if (fence->last_covered_ + 1 == encoder_) first_ordered_encoder_ = fence->first_covered_;
}

void CommandWorker::forget_encoder(uint64_t encoder) {
  std::erase_if(unordered_, [&](const TouchRecord& r) { return r.encoder == encoder; });
}

}  // namespace metalhead::sim
