// Tells when a launch must wait for launches before it, from the exact byte ranges each reads and writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/launch.h"

namespace metalhead {

/// Ranges of the launches since the last barrier, as host addresses; a buffer without contents counts by its
/// handle.
class HazardTracker {
 public:
  /// True if the launch conflicts (write after read, read after write, write after write) with one since the
  /// barrier.
  bool needs_barrier(const Launch& launch) const;

  /// Notes the launch's ranges; call after `barrier()` if one was needed.
  void record(const Launch& launch);

  /// Forgets all ranges: whatever comes next is ordered after them.
  void barrier();

  /// Ranges noted since the last barrier.
  size_t range_count() const { return ranges_.size(); }

 private:
  struct Range {
    const void* handle;  ///< nullptr where begin and end are host addresses
    uint64_t begin;
    uint64_t end;
    Access access;
  };

  static Range range_of(const BufferBinding& binding);

  std::vector<Range> ranges_;
};

}  // namespace metalhead
