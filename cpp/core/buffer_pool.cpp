// Size classes, a cache in order of release, and tickets that hold a buffer back until its command is done.
#include "core/buffer_pool.h"

#include <algorithm>
#include <bit>
#include <mutex>

#include "core/error.h"

namespace metalhead {

BufferPool::BufferPool(Hooks hooks, uint64_t limit_bytes) : hooks_(std::move(hooks)) {
  statistics_.limit_bytes = limit_bytes;
}

BufferPool::~BufferPool() {
  for (const Pending& pending : pending_) hooks_.free(pending.buffer);
  for (const auto& [size, cached] : free_) {
    for (const Cached& entry : cached) hooks_.free(entry.buffer);
  }
  for (const auto& [contents, buffer] : in_use_) hooks_.free(buffer);
}

uint64_t BufferPool::size_class(uint64_t size) {
  constexpr uint64_t kSmallest = 4096;
  if (size <= kSmallest) return kSmallest;
  const uint64_t step = std::bit_floor(size - 1) / 4;
  uint64_t padded = 0;
  if (__builtin_add_overflow(size, step - 1, &padded)) return UINT64_MAX;
  return padded / step * step;  // NOLINT(clang-analyzer-core.DivideZero): size exceeds 4, so does its floor
}

Buffer BufferPool::acquire(uint64_t size) {
  const uint64_t rounded = size_class(size);
  const std::lock_guard lock(mutex_);
  collect_finished();
  Buffer buffer;
  const bool reused = take_cached(rounded, buffer);
  if (!reused) {
    buffer = hooks_.allocate(rounded);
    if (buffer.contents == nullptr) {
      shrink_to(0);
      buffer = hooks_.allocate(rounded);
    }
    if (buffer.contents == nullptr) {
      throw MemoryError(concat("allocate: no memory for ", rounded, " bytes beside the ",
                               statistics_.bytes_in_use, " bytes in use"));
    }
    buffer.size = rounded;
  }
  try {
    in_use_.emplace(buffer.contents, buffer);
  } catch (...) {
    hooks_.free(buffer);
    throw;
  }
  ++(reused ? statistics_.reuses : statistics_.allocations);
  statistics_.bytes_in_use += rounded;
  statistics_.peak_bytes_in_use = std::max(statistics_.peak_bytes_in_use, statistics_.bytes_in_use);
  return buffer;
}

void BufferPool::release(const Buffer& buffer, uint64_t ticket) {
  if (!try_release(buffer, ticket)) {
    throw ValueError(
        concat("release: the buffer must be one that the pool handed out and that was not released yet, got ",
               buffer.contents));
  }
}

bool BufferPool::try_release(const Buffer& buffer, uint64_t ticket) {
  const std::lock_guard lock(mutex_);
  const auto found = in_use_.find(buffer.contents);
  if (found == in_use_.end()) return false;
  const auto later = [](uint64_t value, const Pending& pending) { return value < pending.ticket; };
  const auto place = std::upper_bound(pending_.begin(), pending_.end(), ticket, later);
  pending_.insert(place, Pending{found->second, ticket});
  statistics_.bytes_in_use -= found->second.size;
  statistics_.bytes_cached += found->second.size;
  in_use_.erase(found);
  collect_finished();
  return true;
}

void BufferPool::trim() {
  const std::lock_guard lock(mutex_);
  collect_finished();
  shrink_to(0);
}

void BufferPool::set_limit(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  statistics_.limit_bytes = bytes;
  collect_finished();
  shrink_to(bytes);
}

PoolStatistics BufferPool::statistics() const {
  const std::lock_guard lock(mutex_);
  return statistics_;
}

bool BufferPool::take_cached(uint64_t size, Buffer& buffer) {
  const auto found = free_.find(size);
  if (found == free_.end() || found->second.empty()) return false;
  // The newest is the one most likely to be in the processor's caches.
  buffer = found->second.back().buffer;
  found->second.pop_back();
  statistics_.bytes_cached -= size;
  return true;
}

void BufferPool::collect_finished() {
  if (pending_.empty()) return;
  const uint64_t completed = hooks_.completed();
  while (!pending_.empty() && pending_.front().ticket <= completed) {
    const Buffer buffer = pending_.front().buffer;
    if (buffer.size > statistics_.limit_bytes) {
      // It could not stay, and must not push out those that can.
      hooks_.free(buffer);
      statistics_.bytes_cached -= buffer.size;
    } else {
      free_[buffer.size].push_back({buffer, next_order_++});
    }
    pending_.pop_front();
  }
  shrink_to(statistics_.limit_bytes);
}

void BufferPool::shrink_to(uint64_t bytes) {
  while (statistics_.bytes_cached > bytes) {
    std::vector<Cached>* oldest = nullptr;
    for (auto& [size, cached] : free_) {
      if (cached.empty()) continue;
      if (oldest == nullptr || cached.front().order < oldest->front().order) oldest = &cached;
    }
    if (oldest == nullptr) return;
    hooks_.free(oldest->front().buffer);
    statistics_.bytes_cached -= oldest->front().buffer.size;
    oldest->erase(oldest->begin());
  }
}

}  // namespace metalhead
