// The memory that one dispatch may touch: bound buffers and threadgroup blocks.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "simt.h"
#include "simt_kernel_abi.h"

namespace metalhead::simt {

/// A block of bytes that can be given room before and after it in which nothing else lies.
class GuardedBlock {
 public:
  /// `guarded` leaves megabytes of unmapped room around the block; `offset` sets the address modulo 256.
  GuardedBlock(std::size_t bytes, bool guarded, std::size_t offset);
  GuardedBlock(GuardedBlock&& other) noexcept;
  GuardedBlock& operator=(GuardedBlock&&) = delete;
  ~GuardedBlock();

  char* data() const { return data_; }

 private:
  char* data_ = nullptr;
  void* mapping_ = nullptr;
  std::size_t mapping_bytes_ = 0;
};

/// A range that a kernel may access, as messages name it.
struct Region {
  enum class Kind { kBuffer, kThreadgroup };
  Kind kind = Kind::kBuffer;
  int index = 0;
  std::string name;
  bool writable = true;
  char* data = nullptr;
  std::size_t length = 0;

  /// "buffer 2 (`out`)" or "threadgroup memory `tile`".
  std::string describe() const;
};

/// Owns threadgroup memory, and copies of the buffers where accesses are to be checked.
class DispatchMemory {
 public:
  /// Fills the pointers of `call`. With `isolate`, kernels work on guarded copies of exact length.
  DispatchMemory(const Dispatch& dispatch, SimtCall& call, bool isolate, bool guarded);

  /// Fills all threadgroup memory with a pattern that reads as NaN.
  void poison_threadgroup_memory();
  /// Copies what the kernel may have written back to the caller's buffers.
  void write_back(const Dispatch& dispatch) const;
  /// Returns where a threadgroup variable lies.
  void* variable(const SimtThreadgroupVariable* wanted) const;

  const std::vector<Region>& regions() const { return regions_; }
  std::size_t threadgroup_bytes() const { return threadgroup_bytes_; }

 private:
  void add_buffer(const ArgumentInfo& argument, const Dispatch& dispatch, SimtCall& call);
  char* add_threadgroup_block(int index, std::string name, std::size_t bytes);

  bool isolate_;
  bool guarded_;
  std::vector<GuardedBlock> blocks_;
  std::vector<Region> regions_;
  std::vector<std::pair<const SimtThreadgroupVariable*, void*>> variables_;
  std::size_t threadgroup_bytes_ = 0;
};

}  // namespace metalhead::simt
