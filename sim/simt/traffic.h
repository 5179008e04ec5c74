// Counts bytes as hardware moves them: the lanes of one simdgroup that execute one instruction together count
// once.
#pragma once

#include <cstdint>
#include <vector>

#include "simt.h"

namespace metalhead::simt {

/// Collects accesses between two points where a simdgroup joins, then matches them across lanes.
class TrafficLog {
 public:
  explicit TrafficLog(const std::vector<std::size_t>& region_bytes);

  /// Starts the accesses of another lane.
  void begin_lane();
  void add(std::uint32_t region, std::uint32_t pc, std::size_t offset, std::size_t bytes, bool is_write);
  /// Counts what the lanes have done since the last call.
  void end_segment();

  /// Fills the counts of a region.
  void report(std::size_t region, Traffic& traffic) const;

 private:
  struct Entry {
    std::uint64_t instance;  ///< instruction and how often this lane has executed it in the segment
    std::uint64_t offset;
    std::uint32_t bytes;
    std::uint16_t region;
    bool is_write;
  };
  struct Footprint {
    std::vector<std::uint64_t> loaded, stored;  ///< one bit a byte
    Traffic counts;
  };
  struct Occurrence {
    std::uint32_t pc = 0, count = 0, generation = 0;
  };

  std::uint32_t occurrence(std::uint32_t pc);
  void grow();
  void count(const Entry* first, const Entry* last);

  std::vector<Footprint> regions_;
  std::vector<Entry> entries_;
  std::vector<Occurrence> occurrences_;
  std::size_t used_ = 0;
  std::uint32_t generation_ = 0;
};

}  // namespace metalhead::simt
