// Small blocks come from the heap, large ones are mapped by themselves so that freeing returns them to the
// system.
#include "devices/cpu/memory.h"

#include <sys/mman.h>

#include <cstdlib>

namespace metalhead::cpu {
namespace {

constexpr uint64_t kSmallAlignment = 64;
constexpr uint64_t kLargestSize = static_cast<uint64_t>(PTRDIFF_MAX) - 2 * kHugePageBytes;

uint64_t round_up(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

void* map_huge_pages(uint64_t size) {
  const uint64_t mapped = size + kHugePageBytes;
  void* const base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  const uint64_t begin = reinterpret_cast<uintptr_t>(base);
  const uint64_t aligned = round_up(begin, kHugePageBytes);
  char* const data = static_cast<char*>(base) + (aligned - begin);
  if (aligned > begin) munmap(base, aligned - begin);
  if (const uint64_t tail = begin + mapped - (aligned + size); tail > 0) munmap(data + size, tail);
#ifdef MADV_HUGEPAGE
  // Advice only: a kernel without huge pages answers with an error and small pages serve.
  madvise(data, size, MADV_HUGEPAGE);
#endif
  return data;
}

/// Whole huge pages, so that the ends of the mapping lie on page borders of any size.
uint64_t mapped_size(uint64_t size) { return round_up(size, kHugePageBytes); }

}  // namespace

void* allocate_memory(uint64_t size) noexcept {
  if (size == 0 || size > kLargestSize) return nullptr;
  if (size >= kHugePageBytes) return map_huge_pages(mapped_size(size));
  void* data = nullptr;
  return posix_memalign(&data, kSmallAlignment, size) == 0 ? data : nullptr;
}

void free_memory(void* data, uint64_t size) noexcept {
  if (data == nullptr) return;
  if (size >= kHugePageBytes) {
    munmap(data, mapped_size(size));
  } else {
    std::free(data);
  }
}

}  // namespace metalhead::cpu
