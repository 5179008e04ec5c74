// Runs the threads of one threadgroup as fibers, simdgroup by simdgroup, and joins them at barriers and
// collectives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fibers.h"
#include "random.h"
#include "simt.h"
#include "simt_kernel_abi.h"

namespace metalhead::simt {

class Tracker;

enum class LaneState : std::uint8_t { kReady, kCollective, kSimdgroupBarrier, kThreadgroupBarrier, kExited };

/// One thread: its fiber, its place in the grid, and what it waits for.
struct Lane {
  Fiber fiber;
  SimtThread position{};
  LaneState state = LaneState::kReady;
  const char* operation = nullptr;
  SimtPlace place{};
  void* operand = nullptr;
  SimtCombine combine = nullptr;
  unsigned flags = 0;
};

/// The fibers and rules of one threadgroup; used again for every threadgroup of a dispatch.
class Scheduler {
 public:
  Scheduler(const KernelInfo& kernel, const Dispatch& dispatch, SimtCall& call, Counters& counters);

  /// Runs one threadgroup; `tracker` may be null. Returns an empty text or the error.
  std::string run(Size position, Tracker* tracker);

  // For the running lane, called through the kernel's C interface.
  Lane& lane() { return *running_; }
  bool is_running() const { return running_ != nullptr; }
  void wait(LaneState state, const char* operation, SimtPlace place, unsigned flags, SimtCombine combine,
            void* operand);
  /// Keeps the first error of the threadgroup.
  void report(std::string error);
  /// Leaves the running lane for good. Nothing on its stack is destroyed: it must own no heap memory by then.
  [[noreturn]] void leave();

  std::string describe(const Lane& lane) const;
  /// "threadgroup (x, y, z)" of the running threadgroup.
  std::string describe_threadgroup() const;

 private:
  static void fiber_main();
  void reset(Size position);
  std::size_t simdgroups() const { return (lanes_.size() + kSimtLanes - 1) / kSimtLanes; }
  std::size_t first_lane(std::size_t simdgroup) const { return simdgroup * kSimtLanes; }
  std::size_t last_lane(std::size_t simdgroup) const;

  void run_segment(std::size_t simdgroup);
  void resolve(std::size_t simdgroup);
  void run_collective(std::size_t simdgroup, const Lane& leader, unsigned active, unsigned exited);
  void pass_simdgroup_barrier(std::size_t simdgroup, const Lane& leader, unsigned exited);
  void release_threadgroup_barrier();
  void set_ready(std::size_t first, std::size_t last);
  std::string list_states(std::size_t first, std::size_t last) const;

  const SimtKernel& kernel_;
  SimtCall& call_;
  Counters& counters_;
  FiberPool& fibers_;
  Random random_;
  bool shuffled_;
  std::vector<Lane> lanes_;
  std::vector<std::size_t> runnable_;
  std::size_t exited_ = 0;
  Lane* running_ = nullptr;
  Tracker* tracker_ = nullptr;
  std::string error_;
};

}  // namespace metalhead::simt
