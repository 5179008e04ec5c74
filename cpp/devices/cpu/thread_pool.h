// Threads that stay alive between launches and share out the threadgroups of one.
#pragma once

#include <cstdint>
#include <memory>

#include "core/launch.h"
#include "devices/cpu/kernel_table.h"

namespace metalhead::cpu {

/// Safe to call from several threads at once (runs queue up) and after fork (the child starts its own threads).
class ThreadPool {
 public:
  /// `threads` counts the calling thread: 1 means that everything runs on it.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// CPUs that this process may use, by its affinity mask (and its cgroup quota on Linux).
  static int usable_cpus();

  int size() const;

  /// Runs all threadgroups of the launch; returns when they have finished. Chunks are handed out in ascending order.
  void run(KernelFunction function, const Launch& launch);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace metalhead::cpu
