// The scheduling loop and the rules for barriers, collectives and lanes that have returned.
#include "scheduler.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "execution.h"
#include "tracker.h"

namespace metalhead::simt {
namespace {

bool same_place(const SimtPlace& a, const SimtPlace& b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::string place_text(const SimtPlace& place) {
  return std::string(place.file) + ":" + std::to_string(place.line);
}

bool waits_alike(const Lane& a, const Lane& b) {
  return a.state == b.state && a.operation == b.operation && same_place(a.place, b.place);
}

}  // namespace

Scheduler::Scheduler(const KernelInfo& kernel, const Dispatch& dispatch, SimtCall& call, Counters& counters)
    : kernel_(*kernel.kernel),
      call_(call),
      counters_(counters),
      fibers_(FiberPool::of_this_thread()),
      random_(dispatch.seed),
      shuffled_(dispatch.seed != 0),
      lanes_(std::size_t{dispatch.threads_per_threadgroup.x} * dispatch.threads_per_threadgroup.y *
             dispatch.threads_per_threadgroup.z) {}

std::size_t Scheduler::last_lane(std::size_t simdgroup) const {
  return std::min(lanes_.size(), first_lane(simdgroup) + kSimtLanes);
}

void Scheduler::reset(Size position) {
  const SimtUint3 size = call_.threads_per_threadgroup;
  call_.threadgroup_position = {position.x, position.y, position.z};
  for (unsigned i = 0; i < lanes_.size(); ++i) {
    Lane& lane = lanes_[i];
    const SimtUint3 inside = {i % size.x, i / size.x % size.y, i / size.x / size.y};
    lane.position.position_in_threadgroup = inside;
    lane.position.position_in_grid = {position.x * size.x + inside.x, position.y * size.y + inside.y,
                                      position.z * size.z + inside.z};
    lane.position.index_in_threadgroup = i;
    lane.position.lane = i % kSimtLanes;
    lane.position.simdgroup = i / kSimtLanes;
    lane.state = LaneState::kReady;
    fibers_.start(lane.fiber, i, &Scheduler::fiber_main);
  }
  exited_ = 0;
  runnable_.resize(simdgroups());
  for (std::size_t i = 0; i < runnable_.size(); ++i) runnable_[i] = runnable_.size() - 1 - i;
}

std::string Scheduler::run(Size position, Tracker* tracker) {
  tracker_ = tracker;
  error_.clear();
  reset(position);
  while (error_.empty()) {
    if (runnable_.empty()) {
      if (exited_ == lanes_.size()) break;
      release_threadgroup_barrier();
      continue;
    }
    if (shuffled_)
      std::swap(runnable_.back(), runnable_[random_.below(static_cast<std::uint32_t>(runnable_.size()))]);
    const std::size_t simdgroup = runnable_.back();
    runnable_.pop_back();
    run_segment(simdgroup);
    if (error_.empty()) resolve(simdgroup);
  }
  return error_;
}

void Scheduler::fiber_main() {
  Scheduler& scheduler = Execution::current()->scheduler();
  Lane& lane = scheduler.lane();
  scheduler.kernel_.thunk(scheduler.call_, lane.position);
  lane.state = LaneState::kExited;
  ++scheduler.exited_;
  scheduler.fibers_.yield(lane.fiber, true);
}

// Every ready lane runs until it waits or returns. The order is an affine permutation of the lanes.
void Scheduler::run_segment(std::size_t simdgroup) {
  const std::size_t first = first_lane(simdgroup), count = last_lane(simdgroup) - first;
  const std::uint64_t draw = shuffled_ ? random_.next() : 0;
  const unsigned stride = static_cast<unsigned>(draw & 15) * 2 + 1,
                 start = static_cast<unsigned>(draw >> 4) & 31;
  for (unsigned k = 0; k < kSimtLanes; ++k) {
    const std::size_t at = (k * stride + start) % kSimtLanes;
    if (at >= count || lanes_[first + at].state != LaneState::kReady) continue;
    running_ = &lanes_[first + at];
    if (tracker_ != nullptr) tracker_->begin_lane(*running_);
    fibers_.resume(running_->fiber);
    running_ = nullptr;
    if (!error_.empty()) return;
  }
  if (tracker_ != nullptr) tracker_->end_segment();
}

void Scheduler::resolve(std::size_t simdgroup) {
  const std::size_t first = first_lane(simdgroup), last = last_lane(simdgroup);
  unsigned active = 0, exited = 0;
  const Lane* leader = nullptr;
  bool alike = true;
  for (std::size_t i = first; i < last; ++i) {
    const Lane& lane = lanes_[i];
    if (lane.state == LaneState::kExited) {
      exited |= 1u << (i - first);
      continue;
    }
    active |= 1u << (i - first);
    if (leader == nullptr) leader = &lane;
    alike = alike && waits_alike(*leader, lane);
  }
  if (leader == nullptr) return;
  if (!alike) {
    error_ = "divergent simdgroup " + std::to_string(simdgroup) + " of " + describe_threadgroup() + ": " +
             list_states(first, last);
  } else if (leader->state == LaneState::kCollective) {
    run_collective(simdgroup, *leader, active, exited);
  } else if (leader->state == LaneState::kSimdgroupBarrier) {
    pass_simdgroup_barrier(simdgroup, *leader, exited);
  }
}

void Scheduler::run_collective(std::size_t simdgroup, const Lane& leader, unsigned active, unsigned) {
  const std::size_t first = first_lane(simdgroup), last = last_lane(simdgroup);
  const std::string where = std::string(leader.operation) + " at " + place_text(leader.place);
  if ((leader.flags & kSimtAllLanes) != 0 && active != 0xffffffffu) {
    error_ = where + " needs all 32 lanes of simdgroup " + std::to_string(simdgroup) + " of " +
             describe_threadgroup() + ", " + std::to_string(std::popcount(active)) + " are active";
    return;
  }
  void* operands[kSimtLanes] = {};
  for (std::size_t i = first; i < last; ++i) operands[i - first] = lanes_[i].operand;
  const int outcome = leader.combine(operands, active);
  if (outcome > 0) {
    const int reader = (outcome - 1) / 256, source = (outcome - 1) % 256;
    error_ = where + ": lane " + std::to_string(reader) + " of simdgroup " + std::to_string(simdgroup) +
             " of " + describe_threadgroup() + " reads lane " + std::to_string(source) +
             ", which is not active";
  } else if (outcome < 0) {
    error_ = where + ": the source lane differs between lanes of simdgroup " + std::to_string(simdgroup) +
             " of " + describe_threadgroup();
  }
  ++counters_.simdgroup_operations;
  set_ready(first, last);
  runnable_.push_back(simdgroup);
}

void Scheduler::pass_simdgroup_barrier(std::size_t simdgroup, const Lane& leader, unsigned exited) {
  const std::size_t first = first_lane(simdgroup), last = last_lane(simdgroup);
  if (exited != 0) {
    error_ = "simdgroup_barrier at " + place_text(leader.place) + " is not reached by all of simdgroup " +
             std::to_string(simdgroup) + " of " + describe_threadgroup() + ": " + list_states(first, last);
    return;
  }
  ++counters_.simdgroup_barriers;
  if (tracker_ != nullptr) tracker_->pass_simdgroup_barrier(static_cast<unsigned>(simdgroup), leader.flags);
  set_ready(first, last);
  runnable_.push_back(simdgroup);
}

// All threads wait at a threadgroup barrier or have returned.
void Scheduler::release_threadgroup_barrier() {
  const Lane* leader = nullptr;
  bool alike = true;
  for (const Lane& lane : lanes_) {
    if (lane.state == LaneState::kExited) continue;
    if (leader == nullptr) leader = &lane;
    alike = alike && waits_alike(*leader, lane);
  }
  if (exited_ > 0 || !alike) {
    error_ = "threadgroup_barrier at " + place_text(leader->place) + " is not reached by all threads of " +
             describe_threadgroup() + ": " + list_states(0, lanes_.size());
    return;
  }
  ++counters_.threadgroup_barriers;
  if (tracker_ != nullptr) tracker_->pass_threadgroup_barrier(leader->flags);
  set_ready(0, lanes_.size());
  for (std::size_t i = simdgroups(); i > 0; --i) runnable_.push_back(i - 1);
}

void Scheduler::set_ready(std::size_t first, std::size_t last) {
  for (std::size_t i = first; i < last; ++i)
    if (lanes_[i].state != LaneState::kExited) lanes_[i].state = LaneState::kReady;
}

void Scheduler::wait(LaneState state, const char* operation, SimtPlace place, unsigned flags,
                     SimtCombine combine, void* operand) {
  Lane& lane = *running_;
  lane.state = state;
  lane.operation = operation;
  lane.place = place;
  lane.flags = flags;
  lane.combine = combine;
  lane.operand = operand;
  fibers_.yield(lane.fiber, false);
}

void Scheduler::report(std::string error) {
  if (error_.empty()) error_ = std::move(error);
}

void Scheduler::leave() {
  Lane& lane = *running_;
  for (;;) fibers_.yield(lane.fiber, false);
}

std::string Scheduler::describe_threadgroup() const {
  const SimtUint3 at = call_.threadgroup_position;
  return "threadgroup (" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) +
         ")";
}

std::string Scheduler::describe(const Lane& lane) const {
  return "thread " + std::to_string(lane.position.index_in_threadgroup) + " (simdgroup " +
         std::to_string(lane.position.simdgroup) + ", lane " + std::to_string(lane.position.lane) + ") of " +
         describe_threadgroup();
}

std::string Scheduler::list_states(std::size_t first, std::size_t last) const {
  std::string text;
  for (std::size_t i = first; i < last;) {
    std::size_t end = i + 1;
    while (end < last && (lanes_[i].state == LaneState::kExited ? lanes_[end].state == LaneState::kExited
                                                                : waits_alike(lanes_[i], lanes_[end])))
      ++end;
    text += text.empty() ? "" : "; ";
    text += end - i == 1 ? "thread " + std::to_string(i)
                         : "threads " + std::to_string(i) + ".." + std::to_string(end - 1);
    text += lanes_[i].state == LaneState::kExited
                ? " returned"
                : std::string(" at ") + lanes_[i].operation + " (" + place_text(lanes_[i].place) + ")";
    if (text.size() > 1500) return text + "; ...";
    i = end;
  }
  return text;
}

}  // namespace metalhead::simt
