// Relaxed 32-bit atomics, safe also between dispatches that run on different OS threads.
#include <bit>

#include "execution.h"
#include "simt_kernel_abi.h"
#include "tracker.h"

namespace {

using metalhead::simt::AccessKind;

template <class T>
T apply(int operation, T old, T operand) {
  switch (operation) {
    case kSimtAtomicAdd:
      return static_cast<T>(old + operand);
    case kSimtAtomicSub:
      return static_cast<T>(old - operand);
    case kSimtAtomicMin:
      return operand < old ? operand : old;
    case kSimtAtomicMax:
      return old < operand ? operand : old;
    case kSimtAtomicExchange:
      return operand;
    default:
      break;
  }
  const unsigned a = std::bit_cast<unsigned>(old), b = std::bit_cast<unsigned>(operand);
  const unsigned bits = operation == kSimtAtomicAnd ? a & b : operation == kSimtAtomicOr ? a | b : a ^ b;
  return std::bit_cast<T>(bits);
}

unsigned apply_bits(int operation, int type, unsigned old, unsigned operand) {
  switch (type) {
    case kSimtAtomicInt:
      // Wrap-around addition is defined in Metal: done unsigned, as are the bit operations.
      if (operation == kSimtAtomicMin || operation == kSimtAtomicMax)
        return std::bit_cast<unsigned>(
            apply(operation, std::bit_cast<int>(old), std::bit_cast<int>(operand)));
      return apply(operation, old, operand);
    case kSimtAtomicFloat:
      return std::bit_cast<unsigned>(
          apply(operation, std::bit_cast<float>(old), std::bit_cast<float>(operand)));
    default:
      return apply(operation, old, operand);
  }
}

}  // namespace

unsigned simt_atomic(int operation, int type, void* object, unsigned operand, unsigned* expected) {
  auto& execution = *metalhead::simt::Execution::current();
  ++execution.counters().atomic_operations;
  if (auto* tracker = execution.tracker()) {
    const void* pc = __builtin_return_address(0);
    if (operation != kSimtAtomicStore) tracker->access(object, 4, false, AccessKind::kAtomic, pc);
    if (operation != kSimtAtomicLoad) tracker->access(object, 4, true, AccessKind::kAtomic, pc);
  }
  auto* value = static_cast<unsigned*>(object);
  if (operation == kSimtAtomicLoad) return __atomic_load_n(value, __ATOMIC_RELAXED);
  if (operation == kSimtAtomicStore) {
    __atomic_store_n(value, operand, __ATOMIC_RELAXED);
    return operand;
  }
  unsigned old =
      operation == kSimtAtomicCompareExchange ? *expected : __atomic_load_n(value, __ATOMIC_RELAXED);
  if (operation == kSimtAtomicCompareExchange) {
    __atomic_compare_exchange_n(value, &old, operand, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    *expected = old;
    return old;
  }
  while (!__atomic_compare_exchange_n(value, &old, apply_bits(operation, type, old, operand), true,
                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
