// Remembers which command buffers have finished, the first error among them and the GPU time they took.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>

namespace metalhead::metal {

/// Thread-safe; shared by the encoder and the completion handlers, which may outlive the device.
class Completion {
 public:
  /// Notes the end of a command buffer; an empty `error` means success.
  void finish(uint64_t ticket, const std::string& error, double gpu_seconds);

  /// Every command buffer up to this ticket has finished.
  uint64_t completed() const { return completed_.load(std::memory_order_acquire); }

  /// Returns when `completed() >= ticket`.
  void wait_for(uint64_t ticket);

  /// The first error since the last call, empty if there was none.
  std::string take_error();

  /// GPU seconds of the last and of all finished command buffers, and how many there were.
  struct Times {
    double last_seconds = 0;
    double total_seconds = 0;
    uint64_t command_buffers = 0;
  };
  Times times() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<uint64_t> completed_{0};
  std::set<uint64_t> finished_early_;
  std::string error_;
  Times times_;
};

}  // namespace metalhead::metal
