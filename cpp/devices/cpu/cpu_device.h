// The CPU device: runs launches on a thread pool through the kernel table of one instruction set.
#pragma once

#include <memory>
#include <string>

#include "core/device.h"

namespace metalhead::cpu {

/// Values below 1 and empty texts mean: choose from settings, then from the machine.
struct CpuOptions {
  int threads = 0;
  std::string instruction_set;
};

std::unique_ptr<Device> make_cpu_device(const CpuOptions& options);

}  // namespace metalhead::cpu
