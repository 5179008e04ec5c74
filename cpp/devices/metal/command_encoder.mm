// Encoding order: open, barrier, bind, dispatch, commit.
#include "devices/metal/command_encoder.h"

#include <algorithm>

#include "core/error.h"
#include "devices/metal/metal_memory.h"
#include "devices/metal/objc_text.h"
#include "params/function_constants.h"

namespace metalhead::metal {
namespace {

MTLSize metal_size(const Size3& size) { return MTLSizeMake(size.x, size.y, size.z); }

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

CommandEncoder::CommandEncoder(id<MTLCommandQueue> queue, id<MTLFence> fence, CommitPolicy policy)
    : queue_(queue), fence_(fence), policy_(policy) {}

CommandEncoder::~CommandEncoder() {
  commit();
  completion_->wait_for(tickets_);
}

bool CommandEncoder::open() {
  if (encoder_ != nil) return true;
  id<MTLCommandBuffer> command_buffer = [queue_ commandBuffer];
  if (command_buffer == nil) return false;
  id<MTLComputeCommandEncoder> encoder =
      [command_buffer computeCommandEncoderWithDispatchType:MTLDispatchTypeConcurrent];
  if (encoder == nil) return false;
  ++tickets_;
  command_buffer.label = to_ns(concat("metalhead ", tickets_));
  encoder.label = command_buffer.label;
  // Untracked buffers are not ordered between encoders by anything else.
  [encoder waitForFence:fence_];
  command_buffer_ = command_buffer;
  encoder_ = encoder;
  return true;
}

void CommandEncoder::bind(const Launch& launch) {
  for (NSUInteger slot = 0; slot < launch.buffers.size(); ++slot) {
    const BufferBinding& binding = launch.buffers[slot];
    if (!binding.bound()) continue;
    [encoder_ setBuffer:metal_buffer(binding.buffer) offset:binding.offset atIndex:slot];
    bytes_ += binding.length;
  }
  if (launch.params_size != 0) {
    [encoder_ setBytes:launch.params_bytes.data() length:launch.params_size atIndex:kSlotParams];
  }
  if (launch.threadgroup_bytes != 0) {
    [encoder_ setThreadgroupMemoryLength:(launch.threadgroup_bytes + 15) / 16 * 16 atIndex:0];
  }
}

void CommandEncoder::encode(const Launch& launch, id<MTLComputePipelineState> pipeline) {
  bool opened = false;
  @autoreleasepool {
    opened = open();
    if (opened) {
      if (tracker_.needs_barrier(launch)) {
        [encoder_ memoryBarrierWithScope:MTLBarrierScopeBuffers];
        tracker_.barrier();
      }
      tracker_.record(launch);
      if (pipeline_ != pipeline) [encoder_ setComputePipelineState:pipeline];
      pipeline_ = pipeline;
      bind(launch);
      [encoder_ dispatchThreadgroups:metal_size(launch.grid)
               threadsPerThreadgroup:metal_size(launch.threads)];
      if (std::find(kernels_.begin(), kernels_.end(), launch.kernel) == kernels_.end()) {
        kernels_.emplace_back(launch.kernel);
      }
      ++launches_;
    }
  }
  if (!opened) throw DeviceError(concat("metal: the driver gave no command buffer for ", launch.kernel));
  if (launches_ >= policy_.launches || bytes_ >= policy_.bytes) commit();
}

void CommandEncoder::add_completion_handler() {
  // The handler may run after the device is gone, so it owns all that it touches.
  const std::shared_ptr<Completion> completion = completion_;
  const uint64_t ticket = tickets_;
  const std::string kernels = joined(kernels_);
  [command_buffer_ addCompletedHandler:^(id<MTLCommandBuffer> finished) {
    std::string error;
    if (finished.status == MTLCommandBufferStatusError) {
      error = concat("metal: command buffer ", ticket, " (", kernels, ") failed: ", text_of(finished.error));
    }
    completion->finish(ticket, error, finished.GPUEndTime - finished.GPUStartTime);
  }];
}

void CommandEncoder::commit() {
  if (encoder_ == nil) return;
  @autoreleasepool {
    [encoder_ updateFence:fence_];
    [encoder_ endEncoding];
    add_completion_handler();
    [command_buffer_ commit];
    last_committed_ = command_buffer_;
    command_buffer_ = nil;
    encoder_ = nil;
    pipeline_ = nil;
  }
  // The next encoder waits for the fence, so nothing before it can conflict any more.
  tracker_.barrier();
  kernels_.clear();
  launches_ = 0;
  bytes_ = 0;
}

}  // namespace metalhead::metal
