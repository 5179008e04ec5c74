// The CPU device: runs launches on a thread pool through the kernel table of one instruction set.
#pragma once

#include <memory>
#include <string>

#include "core/device.h"
#include "devices/cpu/kernel_table.h"

namespace metalhead::cpu {

/// Values below 1 and empty texts mean: choose from settings, then from the machine.
struct CpuOptions {
  int threads = 0;
  std::string instruction_set;
};

/// The options with every choice made; throws ValueError above kMaxThreads, DeviceError for an unknown name.
CpuOptions resolve(const CpuOptions& options);

std::unique_ptr<Device> make_cpu_device(const CpuOptions& options);

/// A device with kernels of the caller's choice, which must outlive it.
std::unique_ptr<Device> make_cpu_device(const KernelTable& kernels, int threads);

}  // namespace metalhead::cpu
