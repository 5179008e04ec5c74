// Compares byte ranges: two launches conflict where they share a byte and one of them writes it.
#include "core/hazard_tracker.h"

namespace metalhead {
namespace {

bool writes(Access access) { return access != Access::kRead; }

uint64_t add_saturating(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

}  // namespace

HazardTracker::Range HazardTracker::range_of(const BufferBinding& binding) {
  const Buffer& buffer = binding.buffer;
  // Host addresses tell aliases of one memory under two handles; without one the handle has to do.
  const bool has_address = buffer.contents != nullptr;
  const uint64_t base = has_address ? reinterpret_cast<uintptr_t>(buffer.contents) : 0;
  const uint64_t begin = add_saturating(base, binding.offset);
  return {has_address ? nullptr : buffer.handle, begin, add_saturating(begin, binding.length),
          binding.access};
}

bool HazardTracker::needs_barrier(const Launch& launch) const {
  if (ranges_.empty()) return false;
  for (const BufferBinding& binding : launch.buffers) {
    if (!binding.bound()) continue;
    const Range wanted = range_of(binding);
    for (const Range& range : ranges_) {
      if (range.begin < wanted.end && wanted.begin < range.end && range.handle == wanted.handle &&
          (writes(range.access) || writes(wanted.access))) {
        return true;
      }
    }
  }
  return false;
}

void HazardTracker::record(const Launch& launch) {
  for (const BufferBinding& binding : launch.buffers) {
    if (binding.bound()) ranges_.push_back(range_of(binding));
  }
}

void HazardTracker::barrier() { ranges_.clear(); }

}  // namespace metalhead
