// The interface that every device implements, and the facts that an op may ask of one.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/buffer_pool.h"
#include "core/launch.h"
#include "core/tensor.h"

namespace metalhead {

/// What an op may know about a device when it plans.
struct DeviceLimits {
  uint32_t lanes = 1;                        ///< threads that run in step (simdgroup width); 1 on a CPU
  uint32_t max_threads_per_threadgroup = 1;  ///< threads
  uint32_t threadgroup_memory = 0;           ///< bytes
  uint32_t compute_units = 1;                ///< cores that run threadgroups at the same time
  uint64_t max_buffer_bytes = UINT64_MAX;    ///< bytes of one allocation
  uint32_t prefill_query_rows =
      64;  ///< query rows (times query heads of a group) a threadgroup takes in `sdpa`
  uint32_t min_keys_per_split = 256;  ///< fewer keys than this are not worth a worker of their own
};

/// A name and a value for people, in the order to show them.
using DeviceInfo = std::vector<std::pair<std::string, std::string>>;

/// Runs launches. Launches on one device behave as if they ran in the order given.
class Device {
 public:
  virtual ~Device() = default;

  virtual const std::string& name() const = 0;
  virtual const DeviceLimits& limits() const = 0;
  virtual DeviceInfo info() const = 0;

  /// True if kernels read and write any host address: no buffer needs to come from `allocate`.
  virtual bool reads_host_memory() const = 0;

  /// A buffer of at least `size` bytes from the pool; throws MemoryError.
  virtual Buffer allocate(uint64_t size) = 0;

  /// Gives a buffer of `allocate` or `wrap` back; it is reused or forgotten once the launches so far have
  /// finished.
  virtual void release(const Buffer& buffer) noexcept = 0;

  /// Host memory as a buffer of the device without a copy; `handle` and `contents` stay nullptr if that
  /// cannot be.
  virtual Buffer wrap(void* data, uint64_t size) = 0;

  /// Runs the launch, or queues it. Errors that show later are thrown by `wait`.
  virtual void launch(const Launch& launch) = 0;

  /// Returns when every launch so far has finished; throws the first error among them.
  virtual void wait() = 0;

  /// Prepares what the first calls would otherwise pay for.
  virtual void warm_up() = 0;

  virtual PoolStatistics pool_statistics() const = 0;
  virtual void set_pool_limit(uint64_t bytes) = 0;
  virtual void trim_pool() = 0;
};

/// A pooled buffer that goes back to its device at the end of the scope.
class ScratchBuffer {
 public:
  ScratchBuffer() = default;
  ScratchBuffer(Device& device, uint64_t size) : device_(&device), buffer_(device.allocate(size)) {}

  /// Takes over a buffer that the caller would have to release.
  static ScratchBuffer adopt(Device& device, const Buffer& buffer) noexcept {
    ScratchBuffer scratch;
    scratch.device_ = &device;
    scratch.buffer_ = buffer;
    return scratch;
  }

  ~ScratchBuffer() {
    if (device_ != nullptr) device_->release(buffer_);
  }
  ScratchBuffer(const ScratchBuffer&) = delete;
  ScratchBuffer& operator=(const ScratchBuffer&) = delete;
  ScratchBuffer(ScratchBuffer&& other) noexcept : device_(other.device_), buffer_(other.buffer_) {
    other.device_ = nullptr;
  }
  ScratchBuffer& operator=(ScratchBuffer&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(buffer_, other.buffer_);
    return *this;
  }

  const Buffer& get() const { return buffer_; }

 private:
  Device* device_ = nullptr;
  Buffer buffer_;
};

}  // namespace metalhead
