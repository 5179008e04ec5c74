// Keeps locks usable in a child process when fork happens while other threads hold them.
#pragma once

#include <atomic>
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

/// A value of the whole program that is made when it is first asked for, and never destroyed. Fork waits
/// while it is being made: a child that inherited the guard of a static variable in that state would wait for
/// ever.
template <class T>
class ForkSafeLazy {
 public:
  /// `make` is called again if it has thrown. Objects of this class belong outside of functions.
  explicit ForkSafeLazy(T (*make)()) noexcept : make_(make) {}

  T& get() {
    T* value = value_.load(std::memory_order_acquire);
    if (value != nullptr) return *value;
    const std::lock_guard lock(mutex_);
    value = value_.load(std::memory_order_relaxed);
    if (value == nullptr) value_.store(value = new T(make_()), std::memory_order_release);
    return *value;
  }

 private:
  T (*make_)();
  std::atomic<T*> value_{nullptr};
  ForkSafeMutex mutex_;
};

/// Forks between this process and the first one: an object made under another count belongs to an ancestor.
uint64_t fork_count();

}  // namespace metalhead
