// Reads what Linux and macOS say about processors, quotas and memory.
#include "devices/cpu/machine.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <thread>

#ifdef __linux__
#include <sched.h>

#include <vector>
#endif
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

namespace metalhead::cpu {
namespace {

#ifdef __linux__
int cpus_of_affinity_mask() {
  // The kernel refuses masks that are too short for the machine.
  for (int capacity = 1024; capacity <= 1 << 20; capacity *= 2) {
    std::vector<cpu_set_t> mask(static_cast<size_t>(capacity) / (8 * sizeof(cpu_set_t)));
    const size_t bytes = mask.size() * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, mask.data()) == 0) return CPU_COUNT_S(bytes, mask.data());
  }
  return 0;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// The tightest quota of a folder and those above it; `read` gives a folder's `quota period`. 0 without a
/// limit.
template <class Read>
int tightest_quota(const std::string& root, std::string path, Read read) {
  int cpus = 0;
  while (true) {
    if (const int here = cpus_of_quota(read(root + path)); here > 0)
      cpus = cpus == 0 ? here : std::min(cpus, here);
    const size_t slash = path.find_last_of('/');
    if (slash == std::string::npos) return cpus;
    path.resize(slash);
  }
}

int cpus_of_cgroups() {
  const auto read_unified = [](const std::string& folder) { return first_line(folder + "/cpu.max"); };
  const auto read_legacy = [](const std::string& folder) {
    return first_line(folder + "/cpu.cfs_quota_us") + " " + first_line(folder + "/cpu.cfs_period_us");
  };
  std::ifstream file("/proc/self/cgroup");
  int cpus = 0;
  const auto note = [&cpus](int found) {
    if (found > 0) cpus = cpus == 0 ? found : std::min(cpus, found);
  };
  // Lines are `number:controllers:path`; version 2 has the one line with no controllers.
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    std::string path = line.substr(second + 1);
    if (path == "/") path.clear();
    if (controllers == ",,") note(tightest_quota("/sys/fs/cgroup", path, read_unified));
    if (controllers.find(",cpu,") != std::string::npos) {
      note(tightest_quota("/sys/fs/cgroup/cpu", path, read_legacy));
    }
  }
  return cpus;
}
#endif

}  // namespace

int cpus_of_quota(std::string_view text) {
  const size_t space = text.find(' ');
  if (space == std::string_view::npos) return 0;
  int64_t quota = 0;
  int64_t period = 0;
  const auto quota_end = std::from_chars(text.data(), text.data() + space, quota);
  const auto period_end = std::from_chars(text.data() + space + 1, text.data() + text.size(), period);
  if (quota_end.ec != std::errc() || period_end.ec != std::errc() || quota <= 0 || period <= 0) return 0;
  const int64_t cpus = quota / period + (quota % period != 0 ? 1 : 0);
  return static_cast<int>(std::min<int64_t>(cpus, INT32_MAX));
}

int usable_cpus() {
  int cpus = 0;
#ifdef __linux__
  cpus = cpus_of_affinity_mask();
#endif
  if (cpus == 0) cpus = static_cast<int>(std::thread::hardware_concurrency());
#ifdef __linux__
  if (const int quota = cpus_of_cgroups(); quota > 0) cpus = std::min(cpus, quota);
#endif
  return std::max(cpus, 1);
}

std::string cpu_model() {
#ifdef __APPLE__
  char text[256] = {};
  size_t size = sizeof(text) - 1;
  if (sysctlbyname("machdep.cpu.brand_string", text, &size, nullptr, 0) == 0) return text;
#else
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
#endif
  utsname system = {};
  return uname(&system) == 0 ? system.machine : "unknown";
}

uint64_t physical_memory() {
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  return pages > 0 && page_bytes > 0 ? static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_bytes) : 0;
}

}  // namespace metalhead::cpu
