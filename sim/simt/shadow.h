// Who touched each byte last, and whether a barrier lies between two accesses.
#pragma once

#include <cstdint>
#include <vector>

#include "simt_kernel_abi.h"

namespace metalhead::simt {

/// Barrier counts of the running threadgroup, apart for device and threadgroup memory.
class Epochs {
 public:
  void begin_threadgroup(std::size_t simdgroups);
  void pass_threadgroup_barrier(unsigned memory_flags);
  void pass_simdgroup_barrier(unsigned simdgroup, unsigned memory_flags);

  std::uint32_t threadgroup_serial() const { return serial_; }
  std::uint32_t threadgroup_epoch(unsigned space) const { return threadgroup_[space]; }
  std::uint32_t simdgroup_epoch(unsigned space, unsigned simdgroup) const {
    return simdgroup_[space][simdgroup];
  }

  static constexpr unsigned kDevice = 0, kThreadgroup = 1;

 private:
  std::uint32_t serial_ = 0;
  std::uint32_t threadgroup_[2] = {};
  std::vector<std::uint32_t> simdgroup_[2];
};

/// An access that is not ordered with the one being made.
struct Conflict {
  enum class Kind { kNone, kUninitialised, kWriteThenWrite, kWriteThenRead, kReadThenWrite };
  Kind kind = Kind::kNone;
  unsigned thread = 0;
  bool several_threads = false;
  bool other_threadgroup = false;
  std::uint32_t pc = 0;  ///< offset of the other access in its image
};

/// The accessing thread.
struct Accessor {
  unsigned thread = 0;
  unsigned simdgroup = 0;
  std::uint32_t pc = 0;
  bool atomic = false;
};

/// Last writers and readers of each byte of one region.
class Shadow {
 public:
  Shadow(std::size_t bytes, bool threadgroup_memory);
  ~Shadow();
  Shadow(const Shadow&) = delete;
  Shadow& operator=(const Shadow&) = delete;

  /// Records the access, or returns what it conflicts with.
  Conflict access(std::size_t offset, std::size_t bytes, bool is_write, const Accessor& by,
                  const Epochs& epochs);

 private:
  enum Spread : std::uint8_t { kOneThread, kOneSimdgroup, kSeveralSimdgroups, kSeveralThreadgroups };
  /// A zero serial means never.
  struct Stamp {
    std::uint32_t serial, threadgroup_epoch, simdgroup_epoch, pc;
    std::uint16_t thread;
    std::uint8_t spread, atomic;
  };
  struct Cell {
    Stamp write, read;
  };

  bool is_ordered(const Stamp& earlier, const Accessor& by, const Epochs& epochs) const;
  Conflict conflict(Conflict::Kind kind, const Stamp& earlier, const Epochs& epochs) const;
  Stamp stamp(const Accessor& by, const Epochs& epochs) const;
  void record_read(Stamp& read, const Accessor& by, const Epochs& epochs) const;

  unsigned space_;
  std::size_t mapped_bytes_;
  Cell* cells_;
};

}  // namespace metalhead::simt
