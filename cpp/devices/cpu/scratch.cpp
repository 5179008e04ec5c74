// Memory of one worker thread: replaced by a larger block when a kernel asks for more.
#include <algorithm>

#include "core/error.h"
#include "devices/cpu/kernel_table.h"
#include "devices/cpu/memory.h"

namespace metalhead::cpu {

Scratch::~Scratch() { free_memory(data_, size_); }

void Scratch::begin_launch() { goes_on_ = false; }

bool Scratch::goes_on() const { return goes_on_; }

std::byte* Scratch::reserve(size_t size) {
  goes_on_ = true;
  if (size <= size_ && data_ != nullptr) return data_;
  // At least half as much again, so that slowly growing requests do not allocate each time.
  const size_t grown = std::max({size, size_ + size_ / 2, size_t{4096}});
  free_memory(data_, size_);
  data_ = nullptr;
  size_ = 0;
  data_ = static_cast<std::byte*>(allocate_memory(grown));
  if (data_ == nullptr) throw MemoryError(concat("cpu: no memory for ", grown, " bytes of kernel scratch"));
  size_ = grown;
  return data_;
}

}  // namespace metalhead::cpu
