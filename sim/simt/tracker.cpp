// Finds the region of each access and turns what is wrong with it into an error.
#include "tracker.h"

#include <link.h>

#include <algorithm>

#include "execution.h"
#include "symbolize.h"

namespace metalhead::simt {
namespace {

using Range = std::pair<const char*, const char*>;

struct ImageSearch {
  const char* inside;
  const char* base;
  std::vector<Range> ranges;
};

// Collects the segments of the image that holds an address: constant tables of a kernel lie there.
int collect_image(dl_phdr_info* info, std::size_t, void* data) {
  auto& search = *static_cast<ImageSearch*>(data);
  std::vector<Range> ranges;
  bool found = false;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD) continue;
    const char* first = reinterpret_cast<const char*>(info->dlpi_addr + segment.p_vaddr);
    ranges.emplace_back(first, first + segment.p_memsz);
    found = found || (search.inside >= first && search.inside < first + segment.p_memsz);
  }
  if (!found) return 0;
  search.ranges = std::move(ranges);
  search.base = reinterpret_cast<const char*>(info->dlpi_addr);
  return 1;
}

std::string verb(bool is_write, std::size_t bytes) {
  return (is_write ? "writes " : "reads ") + std::to_string(bytes) + " bytes";
}

std::vector<std::size_t> lengths(const std::vector<Region>& regions) {
  std::vector<std::size_t> bytes;
  for (const Region& region : regions) bytes.push_back(region.length);
  return bytes;
}

}  // namespace

Tracker::Tracker(Execution& execution, const KernelInfo& kernel, const std::vector<Region>& regions)
    : execution_(execution), log_(lengths(regions)) {
  for (const Region& region : regions) {
    const bool threadgroup = region.kind == Region::Kind::kThreadgroup;
    watched_.push_back(
        {region, region.writable ? std::make_unique<Shadow>(region.length, threadgroup) : nullptr});
  }
  ImageSearch search{reinterpret_cast<const char*>(kernel.kernel->function), nullptr, {}};
  dl_iterate_phdr(collect_image, &search);
  images_ = std::move(search.ranges);
  image_base_ = search.base;
}

Tracker::~Tracker() = default;

void Tracker::begin_threadgroup() {
  epochs_.begin_threadgroup((kMaxThreadsPerThreadgroup + kSimtLanes - 1) / kSimtLanes);
}

void Tracker::begin_lane(const Lane& lane) {
  lane_ = &lane;
  log_.begin_lane();
}

void Tracker::end_segment() {
  lane_ = nullptr;
  log_.end_segment();
}

Tracker::Watched* Tracker::find(const char* address) {
  const auto holds = [&](const Watched& watched) {
    return address >= watched.region.data && address < watched.region.data + watched.region.length;
  };
  if (last_hit_ < watched_.size() && holds(watched_[last_hit_])) return &watched_[last_hit_];
  for (std::size_t i = 0; i < watched_.size(); ++i) {
    if (!holds(watched_[i])) continue;
    last_hit_ = i;
    return &watched_[i];
  }
  return nullptr;
}

// Stacks, constant tables, and the runtime's own data that inlined shim code reads.
bool Tracker::is_runtime_memory(const char* address) const {
  if (FiberPool::of_this_thread().owns(address)) return true;
  const auto* execution = reinterpret_cast<const char*>(&execution_);
  if (address >= execution && address < execution + sizeof(Execution)) return true;
  const auto* pointer = reinterpret_cast<const char*>(&simt_constant_values);
  if (address >= pointer && address < pointer + sizeof(simt_constant_values)) return true;
  return std::any_of(images_.begin(), images_.end(),
                     [&](const Range& range) { return address >= range.first && address < range.second; });
}

void Tracker::access(const void* where, std::size_t bytes, bool is_write, AccessKind kind, const void* pc) {
  if (lane_ == nullptr || bytes == 0) return;
  if (!check(static_cast<const char*>(where), bytes, is_write, kind, pc)) execution_.leave();
}

bool Tracker::check(const char* address, std::size_t bytes, bool is_write, AccessKind kind, const void* pc) {
  Watched* hit = find(address);
  if (hit == nullptr) {
    if (is_runtime_memory(address)) return true;
    report_outside(address, bytes, is_write, pc);
    return false;
  }
  const auto offset = static_cast<std::size_t>(address - hit->region.data);
  const char* problem = nullptr;
  if (offset + bytes > hit->region.length) {
    problem = "out of bounds";
  } else if (is_write && !hit->region.writable) {
    problem = "write to a read-only binding";
  } else if (kind != AccessKind::kPlain && reinterpret_cast<std::uintptr_t>(address) % bytes != 0) {
    problem = "misaligned access";
  }
  if (problem != nullptr) {
    report_access(hit->region, problem, offset, bytes, is_write, pc);
    return false;
  }
  const auto code_offset = static_cast<std::uint32_t>(static_cast<const char*>(pc) - image_base_);
  if (hit->shadow) {
    const Accessor by{lane_->position.index_in_threadgroup, lane_->position.simdgroup, code_offset,
                      kind == AccessKind::kAtomic};
    const Conflict conflict = hit->shadow->access(offset, bytes, is_write, by, epochs_);
    if (conflict.kind != Conflict::Kind::kNone) {
      report_conflict(*hit, conflict, offset, bytes, is_write, pc);
      return false;
    }
  }
  log_.add(static_cast<std::uint32_t>(hit - watched_.data()), code_offset, offset, bytes, is_write);
  return true;
}

void Tracker::report_access(const Region& region, const char* problem, std::size_t offset, std::size_t bytes,
                            bool is_write, const void* pc) {
  failed_pc_ = pc;
  execution_.report(std::string(problem) + ": " + execution_.scheduler().describe(*lane_) + " " +
                    verb(is_write, bytes) + " at offset " + std::to_string(offset) + " of " +
                    region.describe() + ", which has " + std::to_string(region.length) + " bytes");
}

void Tracker::report_outside(const char* address, std::size_t bytes, bool is_write, const void* pc) {
  const auto distance = [&](const Watched& watched) {
    const char *first = watched.region.data, *last = first + watched.region.length;
    return address < first ? first - address : address - last;
  };
  auto nearest = std::min_element(watched_.begin(), watched_.end(), [&](const Watched& a, const Watched& b) {
    return distance(a) < distance(b);
  });
  failed_pc_ = pc;
  const std::string who = execution_.scheduler().describe(*lane_) + " " + verb(is_write, bytes);
  if (nearest == watched_.end()) {
    execution_.report("out of bounds: " + who + " outside all memory given to the kernel");
    return;
  }
  const auto offset = static_cast<long long>(address - nearest->region.data);
  execution_.report("out of bounds: " + who + " at offset " + std::to_string(offset) + " of " +
                    nearest->region.describe() + ", which has " + std::to_string(nearest->region.length) +
                    " bytes");
}

void Tracker::report_conflict(const Watched& hit, const Conflict& conflict, std::size_t offset,
                              std::size_t bytes, bool is_write, const void* pc) {
  using Kind = Conflict::Kind;
  failed_pc_ = pc;
  const std::string who = execution_.scheduler().describe(*lane_);
  const std::string what =
      verb(is_write, bytes) + " at offset " + std::to_string(offset) + " of " + hit.region.describe();
  if (conflict.kind == Kind::kUninitialised) {
    execution_.report("uninitialised read: " + who + " " + what + ", which this threadgroup has not written");
    return;
  }
  other_pc_ = image_base_ + conflict.pc;
  std::string other =
      conflict.several_threads ? "several threads" : "thread " + std::to_string(conflict.thread);
  if (conflict.other_threadgroup) other += " of another threadgroup";
  execution_.report("data race: " + who + " " + what + "; " + other +
                    (conflict.kind == Kind::kReadThenWrite ? " read" : " wrote") +
                    " the same bytes with no barrier for that memory in between");
}

std::string Tracker::check_overlaps(const Dispatch& dispatch) const {
  for (const Watched& a : watched_) {
    for (const Watched& b : watched_) {
      if (&a >= &b || a.region.kind != Region::Kind::kBuffer || b.region.kind != Region::Kind::kBuffer)
        continue;
      if (!a.region.writable && !b.region.writable) continue;
      const auto* first = static_cast<const char*>(dispatch.buffers[a.region.index].data);
      const auto* second = static_cast<const char*>(dispatch.buffers[b.region.index].data);
      if (first < second + b.region.length && second < first + a.region.length)
        return a.region.describe() + " and " + b.region.describe() +
               " overlap, and one of them is written: Metal may assume that kernel arguments do not alias";
    }
  }
  return {};
}

void Tracker::explain(std::string& error) const {
  if (error.empty() || failed_pc_ == nullptr) return;
  error += " (" + shader_line(failed_pc_);
  if (other_pc_ != nullptr) error += ", against " + shader_line(other_pc_);
  error += ")";
}

std::vector<Traffic> Tracker::traffic() const {
  std::vector<Traffic> counts;
  for (std::size_t i = 0; i < watched_.size(); ++i) {
    const Region& region = watched_[i].region;
    Traffic traffic;
    traffic.name = region.name;
    traffic.index = region.kind == Region::Kind::kBuffer ? region.index : -1;
    log_.report(i, traffic);
    counts.push_back(std::move(traffic));
  }
  return counts;
}

}  // namespace metalhead::simt
