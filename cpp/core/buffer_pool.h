// Keeps freed buffers for reuse, and never hands one out before the command that used it has finished.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <unordered_map>
#include <vector>

#include "core/fork.h"
#include "core/tensor.h"

namespace metalhead {

/// Bytes and counts of a pool; `in_use` buffers are held by callers, `cached` ones wait for reuse.
struct PoolStatistics {
  uint64_t bytes_in_use = 0;
  uint64_t bytes_cached = 0;
  uint64_t peak_bytes_in_use = 0;
  uint64_t limit_bytes = 0;
  uint64_t allocations = 0;  ///< buffers made by the device
  uint64_t reuses = 0;       ///< requests served from the cache
};

/// Thread-safe. Tickets rise with every command; a buffer released with ticket t is free once `completed() >=
/// t`.
class BufferPool {
 public:
  /// Called under the pool's lock: they must not call the pool.
  struct Hooks {
    std::function<Buffer(uint64_t size)>
        allocate;                             ///< returns a buffer with contents nullptr when memory is short
    std::function<void(const Buffer&)> free;  ///< gives the memory back to the system
    std::function<uint64_t()> completed;      ///< the highest ticket whose command has finished
  };

  /// `limit_bytes` bounds what the cache may hold, not what callers may hold.
  BufferPool(Hooks hooks, uint64_t limit_bytes);

  /// Frees every buffer, also those that callers still hold; all commands must have finished.
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  /// The size that a request is rounded up to: steps of a quarter of a power of two, at least 4096 bytes.
  static uint64_t size_class(uint64_t size);

  /// A buffer of `size_class(size)` bytes; trims the cache and tries again before it throws MemoryError.
  Buffer acquire(uint64_t size);

  /// Takes a buffer of `acquire` back; throws ValueError if the pool did not hand it out (double release).
  void release(const Buffer& buffer, uint64_t ticket);

  /// As `release`, but returns false where that one throws.
  bool try_release(const Buffer& buffer, uint64_t ticket);

  /// Frees every cached buffer whose command has finished.
  void trim();

  void set_limit(uint64_t bytes);
  PoolStatistics statistics() const;

 private:
  struct Pending {
    Buffer buffer;
    uint64_t ticket;
  };
  struct Cached {
    Buffer buffer;
    uint64_t order;  ///< rises with every buffer that enters the cache
  };

  bool take_cached(uint64_t size, Buffer& buffer);
  void collect_finished();
  void shrink_to(uint64_t bytes);

  Hooks hooks_;
  mutable ForkSafeMutex mutex_;
  PoolStatistics statistics_;
  uint64_t next_order_ = 0;
  std::map<uint64_t, std::vector<Cached>> free_;  ///< by size class, the oldest first
  std::deque<Pending> pending_;                   ///< by rising ticket
  std::unordered_map<void*, Buffer> in_use_;      ///< what callers hold, by contents
};

}  // namespace metalhead
