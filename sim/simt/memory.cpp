// Guarded copies of buffers, and threadgroup blocks with a poison pattern.
#include "memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "sanitizers.h"
#include "threadgroup_variables.h"

namespace metalhead::simt {
namespace {

constexpr std::size_t kGuardBytes = std::size_t{64} << 20;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kAlignment = 256;
constexpr int kPoison = 0xff;

#ifdef METALHEAD_SIMT_ASAN
void hide_from_kernels(const void* start, std::size_t bytes) { __asan_poison_memory_region(start, bytes); }
#else
void hide_from_kernels(const void*, std::size_t) {}
#endif

std::size_t round_up(std::size_t value, std::size_t to) { return (value + to - 1) / to * to; }

}  // namespace

GuardedBlock::GuardedBlock(std::size_t bytes, bool guarded, std::size_t offset) {
  offset %= kAlignment;
  if (!guarded) {  // malloc of the exact length lets AddressSanitizer see the end
    mapping_ = std::malloc(offset + bytes + (bytes == 0));
    if (mapping_ == nullptr) throw std::bad_alloc();
    data_ = static_cast<char*>(mapping_) + offset;
    hide_from_kernels(mapping_, offset);
    return;
  }
  const std::size_t inside = round_up(offset + bytes + 1, kPage);
  mapping_bytes_ = inside + 2 * kGuardBytes;
  mapping_ = mmap(nullptr, mapping_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping_ == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<char*>(mapping_) + kGuardBytes + offset;
  if (mprotect(static_cast<char*>(mapping_) + kGuardBytes, inside, PROT_READ | PROT_WRITE) != 0)
    throw std::bad_alloc();
}

GuardedBlock::GuardedBlock(GuardedBlock&& other) noexcept
    : data_(other.data_), mapping_(other.mapping_), mapping_bytes_(other.mapping_bytes_) {
  other.mapping_ = nullptr;
}

GuardedBlock::~GuardedBlock() {
  if (mapping_ == nullptr) return;
  if (mapping_bytes_ > 0) {
    munmap(mapping_, mapping_bytes_);
  } else {
    std::free(mapping_);
  }
}

std::string Region::describe() const {
  if (kind == Kind::kThreadgroup) return "threadgroup memory `" + name + "`";
  return "buffer " + std::to_string(index) + " (`" + name + "`)";
}

DispatchMemory::DispatchMemory(const Dispatch& dispatch, SimtCall& call, bool isolate, bool guarded)
    : isolate_(isolate), guarded_(guarded) {
  const KernelInfo& kernel = *dispatch.kernel;
  for (const ArgumentInfo& argument : kernel.buffers) add_buffer(argument, dispatch, call);
  for (const ArgumentInfo& argument : kernel.threadgroup_arguments) {
    const std::size_t bytes = dispatch.threadgroup_bytes[argument.index];
    if (bytes > 0)
      call.threadgroup_blocks[argument.index] = add_threadgroup_block(argument.index, argument.name, bytes);
  }
  for (const SimtThreadgroupVariable* variable : threadgroup_variables(*kernel.kernel))
    variables_.emplace_back(variable, add_threadgroup_block(-1, variable->name, variable->bytes));
}

void DispatchMemory::add_buffer(const ArgumentInfo& argument, const Dispatch& dispatch, SimtCall& call) {
  const BufferRange& range = dispatch.buffers[argument.index];
  if (range.data == nullptr) return;
  // Two arguments of one index, each behind its own condition, share the range.
  for (Region& region : regions_) {
    if (region.index == argument.index) {
      region.writable = region.writable || argument.access == Access::kReadWrite;
      return;
    }
  }
  char* data = static_cast<char*>(range.data);
  if (isolate_) {
    blocks_.emplace_back(range.length, guarded_, reinterpret_cast<std::size_t>(range.data));
    data = blocks_.back().data();
    std::memcpy(data, range.data, range.length);
  }
  call.buffers[argument.index] = data;
  const bool writable = argument.access == Access::kReadWrite;
  regions_.push_back({Region::Kind::kBuffer, argument.index, argument.name, writable, data, range.length});
}

char* DispatchMemory::add_threadgroup_block(int index, std::string name, std::size_t bytes) {
  blocks_.emplace_back(bytes, guarded_, 0);
  threadgroup_bytes_ += round_up(bytes, 16);
  regions_.push_back(
      {Region::Kind::kThreadgroup, index, std::move(name), true, blocks_.back().data(), bytes});
  return blocks_.back().data();
}

void DispatchMemory::poison_threadgroup_memory() {
  for (const Region& region : regions_)
    if (region.kind == Region::Kind::kThreadgroup) std::memset(region.data, kPoison, region.length);
}

void DispatchMemory::write_back(const Dispatch& dispatch) const {
  for (const Region& region : regions_) {
    if (!isolate_ || region.kind != Region::Kind::kBuffer || !region.writable) continue;
    std::memcpy(dispatch.buffers[region.index].data, region.data, region.length);
  }
}

void* DispatchMemory::variable(const SimtThreadgroupVariable* wanted) const {
  for (const auto& [variable, data] : variables_)
    if (variable == wanted) return data;
  return nullptr;
}

}  // namespace metalhead::simt
