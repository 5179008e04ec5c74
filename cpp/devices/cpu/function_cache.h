// Finds a kernel's function by the address of its interned name, without a lock.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "devices/cpu/kernel_table.h"

namespace metalhead::cpu {

/// Remembers what a kernel table answered; safe to call from several threads at once.
class FunctionCache {
 public:
  explicit FunctionCache(const KernelTable& table) : table_(table) {}

  /// The function of the kernel; throws KernelError if the table has none of that name.
  KernelFunction find(const char* name);

 private:
  struct Slot {
    std::atomic<const char*> name{nullptr};
    std::atomic<KernelFunction> function{
        nullptr};  ///< nullptr while the thread that took the slot still writes
  };
  static constexpr size_t kSlots = 256;

  const KernelTable& table_;
  std::array<Slot, kSlots> slots_;
};

}  // namespace metalhead::cpu
