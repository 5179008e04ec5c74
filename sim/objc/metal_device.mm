// The device of the Metal look-alike, and the memory it hands out.
#include <cstdlib>
#include <cstring>

#include "objc/execution_counters.h"
#include "objc/fault.h"
#include "objc/foundation_objects.h"
#include "objc/metal_library.h"
#include "objc/metal_objects.h"
#include "objc/validation.h"

using namespace metalhead::sim;

@implementation SimBuffer
@synthesize label;
- (NSUInteger)length {
  return length_;
}
- (NSUInteger)allocatedSize {
  return length_;
}
- (void*)contents {
  return memory_;
}
- (void)dealloc {
  total_->bytes -= length_;
  if (owned_) std::free(memory_);
  if (deallocator_ != nil) deallocator_(memory_, length_);
}
@end

@implementation SimFence
@synthesize label;
@end

@implementation SimResidencySet
- (uint64_t)allocatedSize {
  std::lock_guard lock(mutex_);
  uint64_t bytes = 0;
  for (id<MTLAllocation> allocation : committed_) bytes += allocation.allocatedSize;
  return bytes;
}
- (void)addAllocation:(id<MTLAllocation>)allocation {
  std::lock_guard lock(mutex_);
  for (id<MTLAllocation> known : allocations_) {
    if (known == allocation) return;
  }
  allocations_.push_back(allocation);
}
- (void)removeAllocation:(id<MTLAllocation>)allocation {
  std::lock_guard lock(mutex_);
  for (auto known = allocations_.begin(); known != allocations_.end(); ++known) {
    if (*known != allocation) continue;
    allocations_.erase(known);
    return;
  }
  report_misuse("residency set: removeAllocation of an allocation that was not added");
}
- (void)commit {
  std::lock_guard lock(mutex_);
  committed_ = allocations_;
}
- (void)requestResidency {
}
- (void)endResidency {
}
@end

@implementation MTLResidencySetDescriptor
@end

@interface SimDevice : NSObject <MTLDevice> {
 @public
  std::shared_ptr<AllocationTotal> total_;
}
@end

@implementation SimDevice
- (instancetype)init {
  total_ = std::make_shared<AllocationTotal>();
  return self;
}
- (NSString*)name {
  return @"Simulated Apple GPU";
}
- (BOOL)hasUnifiedMemory {
  return YES;
}
- (MTLSize)maxThreadsPerThreadgroup {
  return MTLSizeMake(kMaxThreadsPerThreadgroup, kMaxThreadsPerThreadgroup, kMaxThreadsPerThreadgroup);
}
- (NSUInteger)maxThreadgroupMemoryLength {
  return kMaxThreadgroupMemory;
}
- (NSUInteger)maxBufferLength {
  return kMaxBufferBytes;
}
- (uint64_t)recommendedMaxWorkingSetSize {
  return kMaxBufferBytes;
}
- (NSUInteger)currentAllocatedSize {
  return total_->bytes.load();
}
- (BOOL)supportsFamily:(MTLGPUFamily)family {
  if (take_fault(Fault::kOldDevice, nullptr)) return NO;
  return family <= MTLGPUFamilyApple8 || family == MTLGPUFamilyMetal3;
}

- (id<MTLFence>)newFence {
  return take_fault(Fault::kFence, nullptr) ? nil : [SimFence new];
}

- (SimBuffer*)newBufferAt:(std::byte*)memory length:(NSUInteger)length options:(MTLResourceOptions)options {
  SimBuffer* buffer = [SimBuffer new];
  buffer->memory_ = memory;
  buffer->length_ = length;
  buffer->tracked_ = (options & MTLResourceHazardTrackingModeUntracked) == 0;
  buffer->total_ = total_;
  total_->bytes += length;
  return buffer;
}

- (id<MTLBuffer>)newBufferWithLength:(NSUInteger)length options:(MTLResourceOptions)options {
  if (length == 0 || length > kMaxBufferBytes) {
    report_misuse("newBufferWithLength: length " + std::to_string(length) +
                  " must be from 1 to maxBufferLength");
    return nil;
  }
  if (take_fault(Fault::kBufferAllocation, nullptr)) return nil;
  void* memory = std::aligned_alloc(kPageBytes, (length + kPageBytes - 1) / kPageBytes * kPageBytes);
  if (memory == nullptr) return nil;
  // Metal promises no contents, so garbage keeps anyone from relying on zeros.
  std::memset(memory, 0xFB, length);
  SimBuffer* buffer = [self newBufferAt:static_cast<std::byte*>(memory) length:length options:options];
  buffer->owned_ = true;
  return buffer;
}

- (id<MTLBuffer>)newBufferWithBytesNoCopy:(void*)pointer
                                   length:(NSUInteger)length
                                  options:(MTLResourceOptions)options
                              deallocator:(void (^)(void*, NSUInteger))deallocator {
  if (pointer == nullptr || reinterpret_cast<uintptr_t>(pointer) % kPageBytes != 0) {
    report_misuse("newBufferWithBytesNoCopy: pointer must be page-aligned");
    return nil;
  }
  if (length == 0 || length % kPageBytes != 0 || length > kMaxBufferBytes) {
    report_misuse("newBufferWithBytesNoCopy: length " + std::to_string(length) +
                  " must be a multiple of the page size");
    return nil;
  }
  if (take_fault(Fault::kBufferWrap, nullptr)) return nil;
  SimBuffer* buffer = [self newBufferAt:static_cast<std::byte*>(pointer) length:length options:options];
  buffer->deallocator_ = deallocator;
  return buffer;
}

- (id<MTLCommandQueue>)newCommandQueue {
  return take_fault(Fault::kQueue, nullptr) ? nil : [SimQueue new];
}

- (id<MTLLibrary>)newLibraryWithURL:(NSURL*)url error:(NSError* __autoreleasing*)error {
  return new_library_from_file(text_of(url.path), error);
}

- (id<MTLLibrary>)newLibraryWithSource:(NSString*)source
                               options:(MTLCompileOptions*)options
                                 error:(NSError* __autoreleasing*)error {
  return new_library_from_source(text_of(source), options, error);
}

- (id<MTLComputePipelineState>)
    newComputePipelineStateWithDescriptor:(MTLComputePipelineDescriptor*)descriptor
                                  options:(MTLPipelineOption)options
                               reflection:(MTLComputePipelineReflection* __autoreleasing*)reflection
                                    error:(NSError* __autoreleasing*)error {
  if (reflection != nil) report_misuse("newComputePipelineState: the look-alike gives no reflection");
  return new_pipeline(descriptor, options, error);
}

- (id<MTLBinaryArchive>)newBinaryArchiveWithDescriptor:(MTLBinaryArchiveDescriptor*)descriptor
                                                 error:(NSError* __autoreleasing*)error {
  return new_archive(descriptor.url != nil ? text_of(descriptor.url.path) : "", error);
}

- (id<MTLResidencySet>)newResidencySetWithDescriptor:(MTLResidencySetDescriptor*)descriptor
                                               error:(NSError* __autoreleasing*)error {
  std::string text;
  if (take_fault(Fault::kResidencySet, &text)) {
    if (error != nil) *error = make_error(@"MTLResidencySetErrorDomain", 1, text);
    return nil;
  }
  return [SimResidencySet new];
}
@end

static SimDevice* the_device() {
  static SimDevice* const device = [SimDevice new];
  return device;
}

id<MTLDevice> MTLCreateSystemDefaultDevice(void) {
  return take_fault(Fault::kDeviceAbsent, nullptr) ? nil : the_device();
}

NSArray<id<MTLDevice>>* MTLCopyAllDevices(void) {
  if (take_fault(Fault::kDeviceAbsent, nullptr)) return make_array({});
  return make_array({the_device()});
}
