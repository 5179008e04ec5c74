// Stacks for the threads of one threadgroup, one set an OS thread, with switches between them and the
// scheduler.
#pragma once

#include <cstddef>

namespace metalhead::simt {

/// A suspended fiber, and what AddressSanitizer must know to follow it.
struct Fiber {
  void* context = nullptr;
  void* fake_stack = nullptr;
  char* stack = nullptr;
};

/// The fibers of the calling OS thread; they are kept for the next dispatch.
class FiberPool {
 public:
  using Entry = void (*)();

  static FiberPool& of_this_thread();
  FiberPool(const FiberPool&) = delete;
  FiberPool& operator=(const FiberPool&) = delete;
  ~FiberPool();

  /// Prepares fiber `index` to run `entry` from the start; an unfinished run of it is forgotten.
  void start(Fiber& fiber, std::size_t index, Entry entry);
  /// Runs the fiber until it calls yield(); for the scheduler.
  void resume(Fiber& fiber);
  /// Goes back to the scheduler; `finished` means the fiber will not be resumed.
  void yield(Fiber& fiber, bool finished);
  /// Returns whether an address lies on any fiber's stack.
  bool owns(const void* address) const;

 private:
  FiberPool();
  struct Trampoline;

  char* slab_ = nullptr;
  void* scheduler_context_ = nullptr;
  Entry entry_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  std::size_t scheduler_stack_bytes_ = 0;
  void* scheduler_fake_stack_ = nullptr;
};

}  // namespace metalhead::simt
