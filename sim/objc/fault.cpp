// The table of injected faults, and the counters that tests read.
#include "objc/fault.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <mutex>

#include "objc/execution_counters.h"

namespace metalhead::sim {
namespace {

struct Entry {
  std::string text;
  int skip = 0;
  int count = 0;
};

std::mutex fault_mutex;
std::array<Entry, static_cast<size_t>(Fault::kCount)> entries;

std::atomic<uint32_t> delay_milliseconds{0};

uint64_t seed_from_environment() {
  const char* text = std::getenv("METALHEAD_SIM_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 1;
}

std::atomic<uint64_t>& seed() {
  static std::atomic<uint64_t> value{seed_from_environment()};
  return value;
}

}  // namespace

void inject_fault(Fault fault, const std::string& text, int skip, int count) {
  std::lock_guard lock(fault_mutex);
  entries[static_cast<size_t>(fault)] = {text, skip, count};
}

void clear_faults() {
  std::lock_guard lock(fault_mutex);
  entries.fill({});
}

bool take_fault(Fault fault, std::string* text) {
  std::lock_guard lock(fault_mutex);
  Entry& entry = entries[static_cast<size_t>(fault)];
  if (entry.count == 0) return false;
  if (entry.skip > 0) {
    --entry.skip;
    return false;
  }
  --entry.count;
  if (text != nullptr) *text = entry.text;
  return true;
}

void set_schedule_seed(uint64_t value) { seed().store(value); }
uint64_t schedule_seed() { return seed().load(); }

void set_execution_delay(uint32_t milliseconds) { delay_milliseconds.store(milliseconds); }
uint32_t execution_delay() { return delay_milliseconds.load(); }

ExecutionCounters& execution_counters() {
  static ExecutionCounters counters;
  return counters;
}

ExecutionCounts execution_counts() {
  const ExecutionCounters& counters = execution_counters();
  return {counters.commands.load(), counters.checked_commands.load(), counters.barriers.load(),
          counters.pipelines_compiled.load(), counters.pipelines_from_archive.load()};
}

}  // namespace metalhead::sim
