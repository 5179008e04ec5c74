// Every environment variable that the library honours, read in one place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace metalhead {

/// The most threads that a CPU device may be asked for.
constexpr int kMaxThreads = 1024;

/// Values from the environment; an empty optional means the variable is not set.
struct Settings {
  std::optional<int> threads;  ///< METALHEAD_NUM_THREADS: threads of the CPU device, 1 to kMaxThreads
  std::optional<std::string>
      instruction_set;  ///< METALHEAD_CPU_ISA: a KernelTable's name; the CPU device checks it
  std::optional<std::string>
      default_device;  ///< METALHEAD_DEVICE: name of the default device; the device list checks it
  std::optional<uint64_t> pool_limit_bytes;  ///< METALHEAD_POOL_LIMIT_MB: bound of each device's buffer cache
  std::optional<std::string> cache_folder;   ///< METALHEAD_CACHE_DIR: where compiled pipelines are kept
};

/// Reads the environment; throws ValueError that names the variable, the rule and the text if a value is
/// malformed.
Settings read_settings();

/// The settings as they were at first use.
const Settings& settings();

}  // namespace metalhead
