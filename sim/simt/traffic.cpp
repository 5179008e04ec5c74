// Sorts a segment's accesses by instruction instance and merges the byte ranges of its lanes.
#include "traffic.h"

#include <algorithm>
#include <bit>
#include <tuple>

namespace metalhead::simt {
namespace {

void mark(std::vector<std::uint64_t>& bits, std::uint64_t first, std::uint64_t last) {
  for (std::uint64_t word = first / 64; word * 64 < last; ++word) {
    std::uint64_t mask = ~std::uint64_t{0};
    if (word == first / 64) mask &= ~std::uint64_t{0} << (first % 64);
    if ((word + 1) * 64 > last && last % 64 != 0) mask &= ~std::uint64_t{0} >> (64 - last % 64);
    bits[word] |= mask;
  }
}

std::uint64_t count_bits(const std::vector<std::uint64_t>& bits) {
  std::uint64_t count = 0;
  for (std::uint64_t word : bits) count += static_cast<std::uint64_t>(std::popcount(word));
  return count;
}

/// Runs of set bits, whole words at a time where nothing changes.
std::vector<ByteRange> ranges_of(const std::vector<std::uint64_t>& bits) {
  std::vector<ByteRange> ranges;
  bool inside = false;
  for (std::uint64_t word = 0; word < bits.size(); ++word) {
    if (bits[word] == (inside ? ~std::uint64_t{0} : 0)) continue;
    for (std::uint64_t bit = 0; bit < 64; ++bit) {
      const bool is_set = (bits[word] >> bit & 1) != 0;
      if (is_set && !inside) ranges.push_back({word * 64 + bit, 0});
      if (!is_set && inside) ranges.back().end = word * 64 + bit;
      inside = is_set;
    }
  }
  if (inside) ranges.back().end = bits.size() * 64;
  return ranges;
}

}  // namespace

TrafficLog::TrafficLog(const std::vector<std::size_t>& region_bytes)
    : regions_(region_bytes.size()), occurrences_(1024) {
  for (std::size_t i = 0; i < region_bytes.size(); ++i) {
    regions_[i].loaded.resize(region_bytes[i] / 64 + 1);
    regions_[i].stored.resize(region_bytes[i] / 64 + 1);
  }
}

void TrafficLog::begin_lane() {
  ++generation_;
  used_ = 0;
}

std::uint32_t TrafficLog::occurrence(std::uint32_t pc) {
  if (used_ * 2 > occurrences_.size()) grow();
  const std::size_t mask = occurrences_.size() - 1;
  std::size_t slot = (pc * 2654435761u >> 7) & mask;
  while (occurrences_[slot].generation == generation_ && occurrences_[slot].pc != pc)
    slot = (slot + 1) & mask;
  Occurrence& found = occurrences_[slot];
  if (found.generation != generation_) {
    found = {pc, 0, generation_};
    ++used_;
  }
  return found.count++;
}

void TrafficLog::grow() {
  std::vector<Occurrence> old(occurrences_.size() * 2);
  old.swap(occurrences_);
  const std::size_t mask = occurrences_.size() - 1;
  for (const Occurrence& entry : old) {
    if (entry.generation != generation_) continue;
    std::size_t slot = (entry.pc * 2654435761u >> 7) & mask;
    while (occurrences_[slot].generation == generation_) slot = (slot + 1) & mask;
    occurrences_[slot] = entry;
  }
}

void TrafficLog::add(std::uint32_t region, std::uint32_t pc, std::size_t offset, std::size_t bytes,
                     bool is_write) {
  const std::uint64_t instance = std::uint64_t{pc} << 32 | occurrence(pc);
  entries_.push_back(
      {instance, offset, static_cast<std::uint32_t>(bytes), static_cast<std::uint16_t>(region), is_write});
}

void TrafficLog::end_segment() {
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.instance, a.is_write, a.region, a.offset) <
           std::tie(b.instance, b.is_write, b.region, b.offset);
  });
  for (std::size_t first = 0; first < entries_.size();) {
    std::size_t last = first + 1;
    while (last < entries_.size() && entries_[last].instance == entries_[first].instance &&
           entries_[last].region == entries_[first].region &&
           entries_[last].is_write == entries_[first].is_write)
      ++last;
    count(&entries_[first], &entries_[first] + (last - first));
    first = last;
  }
  entries_.clear();
}

void TrafficLog::count(const Entry* first, const Entry* last) {
  Footprint& region = regions_[first->region];
  std::uint64_t distinct = 0, lane_bytes = 0, begin = first->offset, end = first->offset;
  std::vector<std::uint64_t>& bits = first->is_write ? region.stored : region.loaded;
  for (const Entry* entry = first; entry != last; ++entry) {
    lane_bytes += entry->bytes;
    if (entry->offset > end) {
      distinct += end - begin;
      mark(bits, begin, end);
      begin = entry->offset;
    }
    end = std::max(end, entry->offset + entry->bytes);
  }
  distinct += end - begin;
  mark(bits, begin, end);
  Traffic& counts = region.counts;
  if (first->is_write) {
    counts.store_bytes += distinct;
    ++counts.simdgroup_stores;
  } else {
    counts.lane_load_bytes += lane_bytes;
    counts.load_bytes += distinct;
    ++counts.simdgroup_loads;
  }
}

void TrafficLog::report(std::size_t region, Traffic& traffic) const {
  const Footprint& from = regions_[region];
  std::string name = std::move(traffic.name);
  const int index = traffic.index;
  traffic = from.counts;
  traffic.name = std::move(name);
  traffic.index = index;
  traffic.loaded = ranges_of(from.loaded);
  traffic.stored = ranges_of(from.stored);
  traffic.unique_load_bytes = count_bits(from.loaded);
  traffic.unique_store_bytes = count_bits(from.stored);
}

}  // namespace metalhead::simt
