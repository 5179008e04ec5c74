// Threads that stay alive between launches and share out the threadgroups of one.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/launch.h"
#include "devices/cpu/kernel_table.h"

namespace metalhead::cpu {

/// Safe to call from several threads at once (runs queue up) and after fork (the child starts its own
/// threads).
class ThreadPool {
 public:
  /// `threads` counts the calling thread: 1 means that everything runs on it. No thread starts before it is
  /// needed.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// CPUs that this process may use, by its affinity mask (and its cgroup quota on Linux).
  static int usable_cpus();

  int size() const { return size_; }

  /// Starts the threads if they are not running; throws DeviceError if the system refuses.
  void start();

  /// Runs all threadgroups of the launch; returns when they have finished, or throws the first error among
  /// them. Chunks are handed out in ascending order. Kernels must not call it.
  void run(KernelFunction function, const Launch& launch);

  /// Runs all threadgroups of the launch on the calling thread, whatever the pool is doing.
  static void run_on_caller(KernelFunction function, const Launch& launch);

 private:
  struct State;

  State& state();

  const int size_;
  std::atomic<State*> state_;
};

}  // namespace metalhead::cpu
