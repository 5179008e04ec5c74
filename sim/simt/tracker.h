// Sees every memory access of an instrumented kernel: bounds, alignment, races, uninitialised reads, traffic.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "memory.h"
#include "scheduler.h"
#include "shadow.h"
#include "traffic.h"

namespace metalhead::simt {

class Execution;

enum class AccessKind { kPlain, kAligned, kAtomic };

/// The access checks of one dispatch.
class Tracker {
 public:
  Tracker(Execution& execution, const KernelInfo& kernel, const std::vector<Region>& regions);
  ~Tracker();

  void begin_threadgroup();
  void begin_lane(const Lane& lane);
  void end_segment();
  void pass_threadgroup_barrier(unsigned memory_flags) { epochs_.pass_threadgroup_barrier(memory_flags); }
  void pass_simdgroup_barrier(unsigned simdgroup, unsigned memory_flags) {
    epochs_.pass_simdgroup_barrier(simdgroup, memory_flags);
  }

  /// Called before the access itself; an error leaves the kernel instead of returning.
  void access(const void* address, std::size_t bytes, bool is_write, AccessKind kind, const void* pc);

  /// Returns an error if two bound ranges overlap and one of them may be written.
  std::string check_overlaps(const Dispatch& dispatch) const;
  /// Appends source lines to an error that access() raised.
  void explain(std::string& error) const;
  std::vector<Traffic> traffic() const;

 private:
  struct Watched {
    Region region;
    std::unique_ptr<Shadow> shadow;  ///< null for buffers that are only read
  };

  Watched* find(const char* address);
  bool is_runtime_memory(const char* address) const;
  bool check(const char* address, std::size_t bytes, bool is_write, AccessKind kind, const void* pc);
  void report_outside(const char* address, std::size_t bytes, bool is_write, const void* pc);
  void report_access(const Region& region, const char* problem, std::size_t offset, std::size_t bytes,
                     bool is_write, const void* pc);
  void report_conflict(const Watched& hit, const Conflict& conflict, std::size_t offset, std::size_t bytes,
                       bool is_write, const void* pc);

  Execution& execution_;
  std::vector<Watched> watched_;
  std::size_t last_hit_ = 0;
  Epochs epochs_;
  TrafficLog log_;
  const Lane* lane_ = nullptr;
  std::vector<std::pair<const char*, const char*>> images_;
  const char* image_base_ = nullptr;
  const void* failed_pc_ = nullptr;
  const void* other_pc_ = nullptr;
};

}  // namespace metalhead::simt
