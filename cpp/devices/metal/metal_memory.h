// Allocates, wraps and frees MTLBuffers, and keeps them resident where the system has residency sets.
#pragma once

#import <Metal/Metal.h>

#include <mutex>

#include "core/tensor.h"

namespace metalhead::metal {

/// Thread-safe. A Buffer's handle is a retained MTLBuffer; `free` lets it go.
class MetalMemory {
 public:
  MetalMemory(id<MTLDevice> device, id<MTLCommandQueue> queue);
  ~MetalMemory();
  MetalMemory(const MetalMemory&) = delete;
  MetalMemory& operator=(const MetalMemory&) = delete;

  /// Shared memory of `size` bytes, an empty Buffer if the device has none left.
  Buffer allocate(uint64_t size);

  /// Host memory without a copy if address and size are multiples of 16 KiB, else an empty Buffer.
  Buffer wrap(void* data, uint64_t size);

  void free(const Buffer& buffer);

  bool has_residency_set() const { return residency_set_ != nil; }

 private:
  Buffer adopt(id<MTLBuffer> buffer);
  void make_residency_set(id<MTLCommandQueue> queue);
  void set_resident(id<MTLBuffer> buffer, bool resident);

  id<MTLDevice> device_;
  id<MTLCommandQueue> queue_;
  std::mutex mutex_;
  id residency_set_;  ///< an MTLResidencySet, a type that macOS 14 does not have
};

/// The MTLBuffer behind a handle.
inline id<MTLBuffer> metal_buffer(const Buffer& buffer) { return (__bridge id<MTLBuffer>)buffer.handle; }

}  // namespace metalhead::metal
