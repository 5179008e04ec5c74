// Open addressing over atomic slots; a slot is taken once and never changes after.
#include "devices/cpu/function_cache.h"

namespace metalhead::cpu {

KernelFunction FunctionCache::find(const char* name) {
  // The multiplication spreads addresses that differ in few bits; its top bits are the best mixed.
  size_t index =
      static_cast<size_t>((reinterpret_cast<uintptr_t>(name) * 0x9e3779b97f4a7c15u) >> 56) % kSlots;
  for (size_t probe = 0; probe < kSlots; ++probe, index = (index + 1) % kSlots) {
    Slot& slot = slots_[index];
    const char* held = slot.name.load(std::memory_order_acquire);
    if (held == name) {
      const KernelFunction function = slot.function.load(std::memory_order_acquire);
      return function != nullptr ? function : table_.find(name);
    }
    if (held != nullptr) continue;
    const KernelFunction function = table_.find(name);
    if (slot.name.compare_exchange_strong(held, name, std::memory_order_acq_rel)) {
      slot.function.store(function, std::memory_order_release);
      return function;
    }
    if (held == name) return function;
  }
  return table_.find(name);
}

}  // namespace metalhead::cpu
