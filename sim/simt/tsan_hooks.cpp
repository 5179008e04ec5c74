// The access hooks that clang's -fsanitize=thread calls, served by our tracker instead of the ThreadSanitizer
// runtime.
#include <cstddef>
#include <cstring>

#include "execution.h"
#include "tracker.h"

namespace {

using metalhead::simt::AccessKind;
using metalhead::simt::Execution;

void record(const void* address, std::size_t bytes, bool is_write, AccessKind kind, const void* pc) {
  Execution* execution = Execution::current();
  if (execution == nullptr || execution->tracker() == nullptr) return;
  execution->tracker()->access(address, bytes, is_write, kind, pc);
}

}  // namespace

#define METALHEAD_SIMT_PC __builtin_return_address(0)
#define METALHEAD_SIMT_HOOKS(bytes)                                                                        \
  void __tsan_read##bytes(void* at) { record(at, bytes, false, AccessKind::kAligned, METALHEAD_SIMT_PC); } \
  void __tsan_write##bytes(void* at) { record(at, bytes, true, AccessKind::kAligned, METALHEAD_SIMT_PC); } \
  void __tsan_unaligned_read##bytes(void* at) {                                                            \
    record(at, bytes, false, AccessKind::kPlain, METALHEAD_SIMT_PC);                                       \
  }                                                                                                        \
  void __tsan_unaligned_write##bytes(void* at) {                                                           \
    record(at, bytes, true, AccessKind::kPlain, METALHEAD_SIMT_PC);                                        \
  }

extern "C" {
METALHEAD_SIMT_HOOKS(1)
METALHEAD_SIMT_HOOKS(2)
METALHEAD_SIMT_HOOKS(4)
METALHEAD_SIMT_HOOKS(8)
METALHEAD_SIMT_HOOKS(16)

void __tsan_init() {}

void* __tsan_memcpy(void* to, const void* from, std::size_t bytes) {
  record(from, bytes, false, AccessKind::kPlain, METALHEAD_SIMT_PC);
  record(to, bytes, true, AccessKind::kPlain, METALHEAD_SIMT_PC);
  return std::memcpy(to, from, bytes);
}

void* __tsan_memmove(void* to, const void* from, std::size_t bytes) {
  record(from, bytes, false, AccessKind::kPlain, METALHEAD_SIMT_PC);
  record(to, bytes, true, AccessKind::kPlain, METALHEAD_SIMT_PC);
  return std::memmove(to, from, bytes);
}

void* __tsan_memset(void* to, int value, std::size_t bytes) {
  record(to, bytes, true, AccessKind::kPlain, METALHEAD_SIMT_PC);
  return std::memset(to, value, bytes);
}
}
