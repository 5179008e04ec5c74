// For tests that use the Metal look-alike directly: objects to work with, and misuse recorded instead of
// aborting.
#pragma once

#import <Metal/Metal.h>

#include <vector>

#include "metal_fixture.h"
#include "objc/foundation_objects.h"

namespace metalhead::metal_test {

inline constexpr MTLResourceOptions kUntracked =
    MTLResourceStorageModeShared | MTLResourceHazardTrackingModeUntracked;

/// Objects of one test; at its end nothing of them may be alive.
class ApiTest : public testing::Test {
 protected:
  void SetUp() override {
    @autoreleasepool {
      device_ = MTLCreateSystemDefaultDevice();
      queue_ = [device_ newCommandQueue];
      NSError* error = nil;
      library_ = [device_
          newLibraryWithURL:[NSURL fileURLWithPath:[NSString stringWithUTF8String:METALHEAD_TEST_LIBRARY]]
                      error:&error];
      for (id<MTLBuffer> __strong& buffer : buffers_)
        buffer = [device_ newBufferWithLength:1024 options:kUntracked];
    }
  }
  void TearDown() override {
    sim::clear_faults();
    device_ = nil;
    queue_ = nil;
    library_ = nil;
    for (id<MTLBuffer> __strong& buffer : buffers_) buffer = nil;
    EXPECT_EQ(leak_report(), "");
  }

  id<MTLComputePipelineState> pipeline(const char* name) {
    MTLComputePipelineDescriptor* descriptor = [MTLComputePipelineDescriptor new];
    descriptor.computeFunction = [library_ newFunctionWithName:[NSString stringWithUTF8String:name]];
    NSError* error = nil;
    return [device_ newComputePipelineStateWithDescriptor:descriptor
                                                  options:MTLPipelineOptionNone
                                               reflection:nil
                                                    error:&error];
  }

  /// Binds buffers[a] + buffers[b] -> buffers[out] and dispatches 64 threads.
  void add(id<MTLComputeCommandEncoder> encoder, int a, int b, int out) {
    const VectorParams params{64, 1};
    [encoder setComputePipelineState:pipeline("vector_add_float32")];
    [encoder setBuffer:buffers_[a] offset:0 atIndex:0];
    [encoder setBuffer:buffers_[b] offset:0 atIndex:1];
    [encoder setBuffer:buffers_[out] offset:0 atIndex:2];
    [encoder setBytes:&params length:sizeof params atIndex:kSlotParams];
    [encoder dispatchThreadgroups:MTLSizeMake(1, 1, 1) threadsPerThreadgroup:MTLSizeMake(64, 1, 1)];
  }

  float* values(int buffer) {
    @autoreleasepool {
      return static_cast<float*>([buffers_[buffer] contents]);
    }
  }

  id<MTLDevice> device_;
  id<MTLCommandQueue> queue_;
  id<MTLLibrary> library_;
  id<MTLBuffer> buffers_[4];
};

}  // namespace metalhead::metal_test
