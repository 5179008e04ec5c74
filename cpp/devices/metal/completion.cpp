// Tickets may finish in any order; `completed` rises only over a gapless row of them.
#include "devices/metal/completion.h"

#include <utility>

namespace metalhead::metal {

void Completion::finish(uint64_t ticket, const std::string& error, double gpu_seconds) {
  {
    const std::lock_guard lock(mutex_);
    if (error_.empty()) error_ = error;
    times_.last_seconds = gpu_seconds;
    times_.total_seconds += gpu_seconds;
    ++times_.command_buffers;
    finished_early_.insert(ticket);
    uint64_t reached = completed_.load(std::memory_order_relaxed);
    while (!finished_early_.empty() && *finished_early_.begin() == reached + 1) {
      finished_early_.erase(finished_early_.begin());
      ++reached;
    }
    completed_.store(reached, std::memory_order_release);
  }
  changed_.notify_all();
}

void Completion::wait_for(uint64_t ticket) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return completed() >= ticket; });
}

std::string Completion::take_error() {
  const std::lock_guard lock(mutex_);
  return std::exchange(error_, {});
}

Completion::Times Completion::times() const {
  const std::lock_guard lock(mutex_);
  return times_;
}

}  // namespace metalhead::metal
