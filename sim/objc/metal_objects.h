// Instance variables of the Metal look-alikes, shared by the files that implement them.
#pragma once

#import <Metal/Metal.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "objc/kernel_runner.h"

namespace metalhead::sim {
class CommandWorker;
struct AllocationTotal {
  std::atomic<uint64_t> bytes{0};
};

/// Metal's limits that the look-alike enforces, in bytes or counts.
constexpr NSUInteger kPageBytes = 16384;
constexpr NSUInteger kMaxThreadsPerThreadgroup = 1024;
constexpr NSUInteger kMaxThreadgroupMemory = 32768;
constexpr NSUInteger kMaxSetBytes = 4096;
constexpr NSUInteger kMaxUncompletedCommandBuffers = 64;
constexpr NSUInteger kMaxBufferBytes = NSUInteger{16} << 30;
}  // namespace metalhead::sim

@interface SimBuffer : NSObject <MTLBuffer> {
 @public
  std::byte* memory_;
  NSUInteger length_;
  bool owned_;
  bool tracked_;
  void (^deallocator_)(void*, NSUInteger);
  std::shared_ptr<metalhead::sim::AllocationTotal> total_;
}
@end

@interface SimFence : NSObject <MTLFence> {
 @public
  // Encoders whose work an update covered; touched by the queue's worker only.
  uint64_t first_covered_;
  uint64_t last_covered_;
}
@end

@interface SimLibrary : NSObject <MTLLibrary> {
 @public
  std::set<std::string> names_;  ///< of a library file
  std::string source_;           ///< of a library compiled from text
  bool from_source_;
}
@end

@interface SimFunction : NSObject <MTLFunction> {
 @public
  metalhead::sim::KernelDescription kernel_;
  std::map<int, metalhead::sim::ConstantValue> constants_;
  bool specialized_;
}
@end

@interface MTLFunctionConstantValues () {
 @public
  std::map<int, metalhead::sim::ConstantValue> values_;
}
@end

@interface SimPipeline : NSObject <MTLComputePipelineState> {
 @public
  metalhead::sim::KernelDescription kernel_;
  std::map<int, metalhead::sim::ConstantValue> constants_;
  NSString* label_;
}
@end

@interface SimBinaryArchive : NSObject <MTLBinaryArchive> {
 @public
  std::set<std::string> keys_;
}
@end

@interface SimResidencySet : NSObject <MTLResidencySet> {
 @public
  std::mutex mutex_;
  std::vector<id<MTLAllocation>> allocations_;
  std::vector<id<MTLAllocation>> committed_;
}
@end

namespace metalhead::sim {

/// What a buffer index is bound to when a dispatch is encoded.
struct Slot {
  SimBuffer* buffer = nil;
  NSUInteger offset = 0;
  std::vector<std::byte> bytes;
};

struct DispatchRecord {
  SimPipeline* pipeline = nil;
  std::map<NSUInteger, Slot> slots;
  std::map<NSUInteger, NSUInteger> threadgroup_bytes;
  MTLSize threadgroups, threads;
};
struct BarrierRecord {};
struct FenceRecord {
  SimFence* fence = nil;
  bool update = false;
};
struct EncoderBeginRecord {
  bool concurrent = false;
};
struct EncoderEndRecord {};

using Record = std::variant<DispatchRecord, BarrierRecord, FenceRecord, EncoderBeginRecord, EncoderEndRecord>;

/// Text under which a binary archive keeps a specialised function.
std::string archive_key(const std::string& kernel, const std::map<int, ConstantValue>& constants);

}  // namespace metalhead::sim

@class SimQueue;

@interface SimCommandBuffer : NSObject <MTLCommandBuffer> {
 @public
  SimQueue* queue_;
  std::vector<metalhead::sim::Record> records_;
  std::vector<MTLCommandBufferHandler> handlers_;
  bool encoder_open_;
  bool committed_;
  uint64_t host_synced_;  ///< sequence number of the last command buffer that the host had waited for
  uint64_t sequence_;
  double start_, end_;
  NSError* error_;
  std::atomic<NSUInteger> status_;
  std::mutex mutex_;
  std::condition_variable finished_;
}
- (void)finishWithError:(const std::string&)text
                  start:(double)start
                    end:(double)end
          handlersFirst:(bool)handlersFirst;
@end

@interface SimEncoder : NSObject <MTLComputeCommandEncoder> {
 @public
  SimCommandBuffer* command_buffer_;
  metalhead::sim::DispatchRecord current_;
  std::set<const void*> updated_fences_;
  std::atomic<int> callers_;
  bool ended_;
}
@end

@interface SimQueue : NSObject <MTLCommandQueue> {
 @public
  std::shared_ptr<metalhead::sim::CommandWorker> worker_;
  std::vector<id<MTLResidencySet>> residency_sets_;
}
@end
