// Facts about the machine that the CPU device asks for once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace metalhead::cpu {

/// CPUs that this process may use: its affinity mask, and on Linux no more than its cgroups' quotas; at
/// least 1.
int usable_cpus();

/// CPUs that a cgroup quota allows, rounded up; 0 if there is no limit. `text` is `quota period` or `max
/// period`.
int cpus_of_quota(std::string_view text);

/// The processor's name as its maker gives it, or its architecture if the system does not tell.
std::string cpu_model();

/// Bytes of main memory.
uint64_t physical_memory();

}  // namespace metalhead::cpu
