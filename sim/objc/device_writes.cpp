// Compares bound memory before and after a kernel, unseen by ThreadSanitizer itself.
#include "objc/device_writes.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define METALHEAD_SIM_TSAN 1
#endif
#endif

#ifdef METALHEAD_SIM_TSAN
extern "C" void __tsan_write_range(void* address, unsigned long size);
#endif

namespace metalhead::sim {

#ifdef METALHEAD_SIM_TSAN
namespace {

// Volatile reads keep the compiler from making memcpy or memcmp of it, which ThreadSanitizer would see.
__attribute__((disable_sanitizer_instrumentation)) void copy_unseen(std::byte* to, const std::byte* from,
                                                                    size_t size) {
  const volatile std::byte* source = from;
  for (size_t i = 0; i < size; ++i) to[i] = source[i];
}

__attribute__((disable_sanitizer_instrumentation)) bool differs_unseen(const std::byte* a,
                                                                       const std::byte* b) {
  return *static_cast<const volatile std::byte*>(a) != *static_cast<const volatile std::byte*>(b);
}

}  // namespace

DeviceWrites::DeviceWrites(const KernelCall& call) : call_(call) {
  for (const KernelCall::Bound& bound : call.buffers) {
    std::vector<std::byte> copy(bound.read_only ? 0 : bound.length);
    copy_unseen(copy.data(), bound.data, copy.size());
    before_.push_back(std::move(copy));
  }
}

void DeviceWrites::announce() const {
  for (size_t slot = 0; slot < before_.size(); ++slot) {
    const std::vector<std::byte>& before = before_[slot];
    std::byte* now = call_.buffers[slot].data;
    for (size_t i = 0; i < before.size();) {
      size_t end = i;
      while (end < before.size() && differs_unseen(&before[end], now + end)) ++end;
      if (end > i) __tsan_write_range(now + i, end - i);
      i = end + 1;
    }
  }
}
#else
DeviceWrites::DeviceWrites(const KernelCall& call) : call_(call) {}
void DeviceWrites::announce() const {}
#endif

}  // namespace metalhead::sim
