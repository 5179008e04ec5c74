// Counters that the look-alike raises while it works; tests read them through `execution_counts`.
#pragma once

#include <atomic>
#include <cstdint>

namespace metalhead::sim {

struct ExecutionCounters {
  std::atomic<uint64_t> commands{0};
  std::atomic<uint64_t> checked_commands{0};
  std::atomic<uint64_t> barriers{0};
  std::atomic<uint64_t> pipelines_compiled{0};
  std::atomic<uint64_t> pipelines_from_archive{0};
};

ExecutionCounters& execution_counters();

}  // namespace metalhead::sim
