// The thread behind a command queue: runs committed command buffers and checks that conflicting commands are
// ordered.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "objc/metal_objects.h"

namespace metalhead::sim {

/// What one command touched, kept while later commands are not ordered after it.
struct TouchRecord {
  uint64_t encoder = 0;
  uint64_t command_buffer = 0;
  std::string command;
  std::vector<TouchedRange> ranges;
};

/// Text about two commands that touch the same bytes, one writing, without anything that orders them; else
/// empty.
std::string find_conflict(const TouchRecord& before, const TouchRecord& now);

class CommandWorker : public std::enable_shared_from_this<CommandWorker> {
 public:
  void start();

  /// Ends the thread once every committed command buffer has run.
  void stop();

  /// Queues a command buffer; called by its `commit`.
  void submit(SimCommandBuffer* command_buffer);

  /// Blocks while as many command buffers as Metal allows are not completed; false if waiting could never
  /// end.
  bool reserve_command_buffer();
  void command_buffer_gone(bool was_committed);

  /// Notes that the host has waited for this command buffer.
  void host_waited_for(uint64_t sequence);

 private:
  void run_thread();
  void execute(SimCommandBuffer* command_buffer);
  std::string execute_segment(std::vector<const DispatchRecord*>& segment, bool concurrent);
  std::string execute_dispatch(const DispatchRecord& dispatch, uint64_t seed);
  void check_touched(const std::string& command, std::vector<TouchedRange> ranges);
  void apply_fence(const FenceRecord& record);
  void forget_encoder(uint64_t encoder);

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<SimCommandBuffer*> committed_;
  bool stopping_ = false;
  uint64_t alive_ = 0;
  uint64_t pending_ = 0;
  uint64_t last_sequence_ = 0;
  uint64_t host_synced_ = 0;

  // Used by the worker's thread only.
  std::mt19937_64 random_;
  std::vector<TouchRecord> unordered_;
  uint64_t encoder_ = 0;
  uint64_t first_ordered_encoder_ = 0;
  uint64_t command_buffer_ = 0;
};

}  // namespace metalhead::sim
