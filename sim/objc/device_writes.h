// Under ThreadSanitizer: makes what a kernel wrote visible as writes of the queue's thread, so that host
// races show.
#pragma once

#include <vector>

#include "objc/kernel_runner.h"

namespace metalhead::sim {

/// Kernels are not instrumented for ThreadSanitizer, so the bytes that changed stand for those written.
class DeviceWrites {
 public:
  /// Remembers the bound memory before the kernel runs; does nothing in other builds.
  explicit DeviceWrites(const KernelCall& call);

  /// Tells ThreadSanitizer of every byte that differs now.
  void announce() const;

 private:
  [[maybe_unused]] const KernelCall& call_;
  std::vector<std::vector<std::byte>> before_;
};

}  // namespace metalhead::sim
