// Keeps locks usable in a child process when fork happens while other threads hold them.
#pragma once

#include <cstdint>
#include <mutex>

namespace metalhead {

/// A mutex for short sections: fork waits until it is free, so a child never inherits it locked.
class ForkSafeMutex {
 public:
  ForkSafeMutex();
  ~ForkSafeMutex();
  ForkSafeMutex(const ForkSafeMutex&) = delete;
  ForkSafeMutex& operator=(const ForkSafeMutex&) = delete;

  void lock() { mutex_.lock(); }
  bool try_lock() { return mutex_.try_lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

/// Forks between this process and the first one: an object made under another count belongs to an ancestor.
uint64_t fork_count();

}  // namespace metalhead
