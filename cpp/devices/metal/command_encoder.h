// Turns launches into commands: one open command buffer, one concurrent encoder, barriers where the tracker
// asks.
#pragma once

#import <Metal/Metal.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/hazard_tracker.h"
#include "core/launch.h"
#include "devices/metal/completion.h"

namespace metalhead::metal {

/// When an open command buffer is committed without being asked to.
struct CommitPolicy {
  uint32_t launches;
  uint64_t bytes;
};

/// Not thread-safe: the device calls it under its lock. Nobody else touches the Metal encoder.
class CommandEncoder {
 public:
  CommandEncoder(id<MTLCommandQueue> queue, id<MTLFence> fence, CommitPolicy policy);

  /// Commits what is open and waits for all of it.
  ~CommandEncoder();
  CommandEncoder(const CommandEncoder&) = delete;
  CommandEncoder& operator=(const CommandEncoder&) = delete;

  /// Encodes the launch and commits if the policy says so; throws DeviceError if Metal hands out no command
  /// buffer.
  void encode(const Launch& launch, id<MTLComputePipelineState> pipeline);

  /// Hands the open command buffer, if any, to the GPU.
  void commit();

  /// The ticket of the newest launch; `completion().completed()` reaches it when that launch has finished.
  uint64_t newest_ticket() const { return tickets_; }

  /// The newest committed command buffer, nil if there is none.
  id<MTLCommandBuffer> last_committed() const { return last_committed_; }

  const std::shared_ptr<Completion>& completion() const { return completion_; }

 private:
  bool open();
  void bind(const Launch& launch);
  void add_completion_handler();

  id<MTLCommandQueue> queue_;
  id<MTLFence> fence_;
  CommitPolicy policy_;
  std::shared_ptr<Completion> completion_ = std::make_shared<Completion>();
  HazardTracker tracker_;

  id<MTLCommandBuffer> command_buffer_;
  id<MTLComputeCommandEncoder> encoder_;
  id<MTLComputePipelineState> pipeline_;
  id<MTLCommandBuffer> last_committed_;
  std::vector<std::string> kernels_;  ///< names in the open command buffer, each once
  uint32_t launches_ = 0;
  uint64_t bytes_ = 0;
  uint64_t tickets_ = 0;
};

}  // namespace metalhead::metal
