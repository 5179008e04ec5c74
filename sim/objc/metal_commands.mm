// Command queue, command buffer and compute encoder of the Metal look-alike, with the checks of Metal's API
// layer.
#include "objc/command_worker.h"
#include "objc/fault.h"
#include "objc/foundation_objects.h"
#include "objc/metal_objects.h"
#include "objc/validation.h"

using namespace metalhead::sim;

@implementation SimQueue
@synthesize label;
- (instancetype)init {
  worker_ = std::make_shared<CommandWorker>();
  worker_->start();
  return self;
}
- (void)dealloc {
  worker_->stop();
}
- (id<MTLCommandBuffer>)commandBuffer {
  if (take_fault(Fault::kCommandBuffer, nullptr)) return nil;
  if (!worker_->reserve_command_buffer()) {
    report_misuse(
        "commandBuffer: 64 command buffers are alive and none is committed, waiting would never end");
    return nil;
  }
  SimCommandBuffer* command_buffer = [SimCommandBuffer new];
  command_buffer->queue_ = self;
  return command_buffer;
}
- (void)addResidencySet:(id<MTLResidencySet>)residencySet {
  residency_sets_.push_back(residencySet);
}
- (void)removeResidencySet:(id<MTLResidencySet>)residencySet {
  std::erase_if(residency_sets_, [&](id<MTLResidencySet> known) { return known == residencySet; });
}
@end

@implementation SimCommandBuffer
@synthesize label;
- (void)dealloc {
  if (queue_ != nil && !committed_) queue_->worker_->command_buffer_gone(false);
}
- (CFTimeInterval)GPUStartTime {
  return self.status >= MTLCommandBufferStatusCompleted ? start_ : 0;
}
- (CFTimeInterval)GPUEndTime {
  return self.status >= MTLCommandBufferStatusCompleted ? end_ : 0;
}
- (MTLCommandBufferStatus)status {
  return static_cast<MTLCommandBufferStatus>(status_.load());
}
- (NSError*)error {
  return self.status >= MTLCommandBufferStatusCompleted ? error_ : nil;
}

- (id<MTLComputeCommandEncoder>)computeCommandEncoderWithDispatchType:(MTLDispatchType)dispatchType {
  if (committed_) {
    report_misuse("computeCommandEncoder: the command buffer is committed");
    return nil;
  }
  if (encoder_open_) {
    report_misuse("computeCommandEncoder: an encoder of this command buffer is still open");
    return nil;
  }
  if (take_fault(Fault::kEncoder, nullptr)) return nil;
  SimEncoder* encoder = [SimEncoder new];
  encoder->command_buffer_ = self;
  encoder_open_ = true;
  records_.push_back(EncoderBeginRecord{dispatchType == MTLDispatchTypeConcurrent});
  return encoder;
}

- (void)addCompletedHandler:(MTLCommandBufferHandler)block {
  if (committed_) return report_misuse("addCompletedHandler: the command buffer is committed");
  handlers_.push_back(block);
}

- (void)commit {
  if (committed_) return report_misuse("commit: the command buffer is committed already");
  if (encoder_open_) return report_misuse("commit: an encoder of this command buffer is still open");
  committed_ = true;
  status_ = MTLCommandBufferStatusCommitted;
  queue_->worker_->submit(self);
}

- (void)waitUntilCompleted {
  if (!committed_) return report_misuse("waitUntilCompleted: the command buffer is not committed");
  {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [&] { return status_.load() >= MTLCommandBufferStatusCompleted; });
  }
  queue_->worker_->host_waited_for(sequence_);
}

- (void)runHandlers {
  for (MTLCommandBufferHandler handler : handlers_) handler(self);
  handlers_.clear();
}

// Metal does not say whether a waiting thread or a handler sees the end first, so both orders occur.
- (void)finishWithError:(const std::string&)text
                  start:(double)start
                    end:(double)end
          handlersFirst:(bool)handlersFirst {
  start_ = start;
  end_ = end;
  if (!text.empty()) error_ = make_error(@"MTLCommandBufferErrorDomain", 1, text);
  const NSUInteger status = text.empty() ? MTLCommandBufferStatusCompleted : MTLCommandBufferStatusError;
  if (handlersFirst) {
    status_ = status;
    [self runHandlers];
  }
  {
    std::lock_guard lock(mutex_);
    status_ = status;
  }
  finished_.notify_all();
  if (!handlersFirst) [self runHandlers];
  records_.clear();
  queue_->worker_->command_buffer_gone(true);
}
@end

namespace metalhead::sim {
namespace {

/// Notices two threads inside one encoder, which Metal does not allow.
class SingleCaller {
 public:
  explicit SingleCaller(SimEncoder* encoder) : callers_(encoder->callers_) {
    if (callers_.fetch_add(1) != 0) report_misuse("encoder: two threads use one encoder at the same time");
  }
  ~SingleCaller() { callers_.fetch_sub(1); }

 private:
  std::atomic<int>& callers_;
};

bool is_open(SimEncoder* encoder, const char* call) {
  if (!encoder->ended_) return true;
  report_misuse(std::string(call) + ": the encoder has ended");
  return false;
}

std::string place(const KernelDescription& kernel, const KernelArgument& argument) {
  return kernel.name + ": " + argument.name + " at buffer index " + std::to_string(argument.index) + ": ";
}

bool is_switched_on(const KernelArgument& argument, const SimPipeline* pipeline) {
  if (!argument.conditional) return true;
  // An expression is left to the runtime, which evaluates it when the command runs.
  if (!argument.condition) return false;
  const auto value = pipeline->constants_.find(*argument.condition);
  return value != pipeline->constants_.end() && value->second.bytes[0] != std::byte{0};
}

std::string slot_problem(const KernelDescription& kernel, const KernelArgument& argument, const Slot& slot) {
  const bool is_buffer = slot.buffer != nil;
  const NSUInteger length = is_buffer ? slot.buffer->length_ - slot.offset : slot.bytes.size();
  if (!is_buffer && argument.writes)
    return place(kernel, argument) + "bytes are bound where the kernel may write";
  if (slot.offset % argument.element_alignment != 0) {
    return place(kernel, argument) + "offset " + std::to_string(slot.offset) + " must be a multiple of " +
           std::to_string(argument.element_alignment);
  }
  if (length < argument.element_bytes) {
    return place(kernel, argument) + "has " + std::to_string(length) + " bytes, one element takes " +
           std::to_string(argument.element_bytes);
  }
  return "";
}

std::string bindings_problem(const DispatchRecord& dispatch) {
  const KernelDescription& kernel = dispatch.pipeline->kernel_;
  for (const KernelArgument& argument : kernel.buffers) {
    if (!is_switched_on(argument, dispatch.pipeline)) continue;
    const auto slot = dispatch.slots.find(static_cast<NSUInteger>(argument.index));
    if (slot == dispatch.slots.end()) return place(kernel, argument) + "nothing is bound";
    if (std::string text = slot_problem(kernel, argument, slot->second); !text.empty()) return text;
  }
  for (int index : kernel.threadgroup_arguments) {
    const auto length = dispatch.threadgroup_bytes.find(static_cast<NSUInteger>(index));
    if (length == dispatch.threadgroup_bytes.end() || length->second == 0) {
      return kernel.name + ": threadgroup argument " + std::to_string(index) + " has no length";
    }
  }
  return "";
}

std::string size_problem(const DispatchRecord& dispatch) {
  const KernelDescription& kernel = dispatch.pipeline->kernel_;
  const MTLSize groups = dispatch.threadgroups, threads = dispatch.threads;
  if (groups.width * groups.height * groups.depth == 0) return kernel.name + ": the grid has no threadgroups";
  const NSUInteger count = threads.width * threads.height * threads.depth;
  if (count == 0 || count > kernel.max_threads_per_threadgroup || count > kMaxThreadsPerThreadgroup) {
    return kernel.name + ": " + std::to_string(count) + " threads per threadgroup, must be from 1 to " +
           std::to_string(
               std::min<NSUInteger>(kernel.max_threads_per_threadgroup, kMaxThreadsPerThreadgroup));
  }
  NSUInteger bytes = kernel.static_threadgroup_bytes;
  for (const auto& [index, length] : dispatch.threadgroup_bytes) bytes += length;
  if (bytes > kMaxThreadgroupMemory) {
    return kernel.name + ": " + std::to_string(bytes) + " bytes of threadgroup memory, must be at most 32768";
  }
  return "";
}

}  // namespace
}  // namespace metalhead::sim

@implementation SimEncoder
@synthesize label;
- (void)dealloc {
  if (!ended_) report_misuse("encoder: released before endEncoding");
}

- (void)setComputePipelineState:(id<MTLComputePipelineState>)state {
  SingleCaller guard(self);
  if (!is_open(self, "setComputePipelineState")) return;
  if (state == nil) return report_misuse("setComputePipelineState: the pipeline must not be nil");
  current_.pipeline = (SimPipeline*)state;
}

- (void)setBuffer:(id<MTLBuffer>)buffer offset:(NSUInteger)offset atIndex:(NSUInteger)index {
  SingleCaller guard(self);
  if (!is_open(self, "setBuffer")) return;
  if (index >= kMaxBufferSlots)
    return report_misuse("setBuffer: index " + std::to_string(index) + " must be below 31");
  SimBuffer* simulated = (SimBuffer*)buffer;
  if (simulated == nil) {
    current_.slots.erase(index);
    return;
  }
  if (offset >= simulated->length_) {
    return report_misuse("setBuffer: offset " + std::to_string(offset) +
                         " must be below the buffer's length " + std::to_string(simulated->length_));
  }
  current_.slots[index] = Slot{simulated, offset, {}};
}

- (void)setBytes:(const void*)bytes length:(NSUInteger)length atIndex:(NSUInteger)index {
  SingleCaller guard(self);
  if (!is_open(self, "setBytes")) return;
  if (index >= kMaxBufferSlots)
    return report_misuse("setBytes: index " + std::to_string(index) + " must be below 31");
  if (length == 0 || length > kMaxSetBytes) {
    return report_misuse("setBytes: length " + std::to_string(length) + " must be from 1 to 4096");
  }
  const auto* data = static_cast<const std::byte*>(bytes);
  current_.slots[index] = Slot{nil, 0, {data, data + length}};
}

- (void)setThreadgroupMemoryLength:(NSUInteger)length atIndex:(NSUInteger)index {
  SingleCaller guard(self);
  if (!is_open(self, "setThreadgroupMemoryLength")) return;
  if (index >= kMaxBufferSlots) return report_misuse("setThreadgroupMemoryLength: index must be below 31");
  if (length % 16 != 0) {
    return report_misuse("setThreadgroupMemoryLength: length " + std::to_string(length) +
                         " must be a multiple of 16");
  }
  if (length > kMaxThreadgroupMemory) {
    return report_misuse("setThreadgroupMemoryLength: length " + std::to_string(length) +
                         " must be at most 32768");
  }
  current_.threadgroup_bytes[index] = length;
}

- (void)dispatchThreadgroups:(MTLSize)threadgroupsPerGrid
       threadsPerThreadgroup:(MTLSize)threadsPerThreadgroup {
  SingleCaller guard(self);
  if (!is_open(self, "dispatchThreadgroups")) return;
  if (current_.pipeline == nil) return report_misuse("dispatchThreadgroups: no pipeline is set");
  current_.threadgroups = threadgroupsPerGrid;
  current_.threads = threadsPerThreadgroup;
  if (std::string text = size_problem(current_); !text.empty()) return report_misuse(text);
  if (std::string text = bindings_problem(current_); !text.empty()) return report_misuse(text);
  command_buffer_->records_.push_back(current_);
}

- (void)memoryBarrierWithScope:(MTLBarrierScope)scope {
  SingleCaller guard(self);
  if (!is_open(self, "memoryBarrierWithScope")) return;
  if ((scope & MTLBarrierScopeBuffers) == 0) return;
  command_buffer_->records_.push_back(BarrierRecord{});
}

- (void)updateFence:(id<MTLFence>)fence {
  SingleCaller guard(self);
  if (!is_open(self, "updateFence")) return;
  updated_fences_.insert((__bridge const void*)fence);
  command_buffer_->records_.push_back(FenceRecord{(SimFence*)fence, true});
}

- (void)waitForFence:(id<MTLFence>)fence {
  SingleCaller guard(self);
  if (!is_open(self, "waitForFence")) return;
  if (updated_fences_.count((__bridge const void*)fence) != 0) {
    return report_misuse("waitForFence: this encoder has updated the fence already");
  }
  command_buffer_->records_.push_back(FenceRecord{(SimFence*)fence, false});
}

- (void)endEncoding {
  SingleCaller guard(self);
  if (!is_open(self, "endEncoding")) return;
  ended_ = true;
  command_buffer_->encoder_open_ = false;
  command_buffer_->records_.push_back(EncoderEndRecord{});
}
@end
