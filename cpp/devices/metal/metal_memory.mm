// Shared, untracked buffers: the encoder orders commands itself.
#include "devices/metal/metal_memory.h"

namespace metalhead::metal {
namespace {

constexpr MTLResourceOptions kOptions = MTLResourceStorageModeShared | MTLResourceHazardTrackingModeUntracked;
constexpr uint64_t kPageBytes = 16384;

}  // namespace

MetalMemory::MetalMemory(id<MTLDevice> device, id<MTLCommandQueue> queue) : device_(device), queue_(queue) {
  @autoreleasepool {
    make_residency_set(queue);
  }
}

MetalMemory::~MetalMemory() {
  if (@available(macOS 15.0, *)) {
    if (residency_set_ != nil) [queue_ removeResidencySet:(id<MTLResidencySet>)residency_set_];
  }
}

void MetalMemory::make_residency_set(id<MTLCommandQueue> queue) {
  if (@available(macOS 15.0, *)) {
    MTLResidencySetDescriptor* descriptor = [MTLResidencySetDescriptor new];
    descriptor.label = @"metalhead";
    NSError* reason = nil;
    id<MTLResidencySet> set = [device_ newResidencySetWithDescriptor:descriptor error:&reason];
    // Without one, Metal makes buffers resident for each command buffer: slower, never wrong.
    if (set == nil) return;
    [queue addResidencySet:set];
    residency_set_ = set;
  }
}

void MetalMemory::set_resident(id<MTLBuffer> buffer, bool resident) {
  if (@available(macOS 15.0, *)) {
    const std::lock_guard lock(mutex_);
    id<MTLResidencySet> set = (id<MTLResidencySet>)residency_set_;
    if (resident) {
      [set addAllocation:buffer];
    } else {
      [set removeAllocation:buffer];
    }
    [set commit];
  }
}

Buffer MetalMemory::adopt(id<MTLBuffer> buffer) {
  if (buffer == nil) return {};
  set_resident(buffer, true);
  return {buffer.contents, buffer.length, const_cast<void*>((__bridge_retained const void*)buffer)};
}

Buffer MetalMemory::allocate(uint64_t size) {
  @autoreleasepool {
    if (size == 0 || size > device_.maxBufferLength) return {};
    return adopt([device_ newBufferWithLength:size options:kOptions]);
  }
}

Buffer MetalMemory::wrap(void* data, uint64_t size) {
  if (size == 0 || size % kPageBytes != 0 || reinterpret_cast<uintptr_t>(data) % kPageBytes != 0) return {};
  @autoreleasepool {
    if (size > device_.maxBufferLength) return {};
    return adopt([device_ newBufferWithBytesNoCopy:data length:size options:kOptions deallocator:nil]);
  }
}

void MetalMemory::free(const Buffer& buffer) {
  @autoreleasepool {
    id<MTLBuffer> owned = (__bridge_transfer id<MTLBuffer>)buffer.handle;
    set_resident(owned, false);
  }
}

}  // namespace metalhead::metal
