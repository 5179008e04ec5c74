// Epoch-based race detection: exact for barriers, one cell a byte.
#include "shadow.h"

#include <sys/mman.h>

#include <new>

namespace metalhead::simt {

void Epochs::begin_threadgroup(std::size_t simdgroups) {
  ++serial_;
  for (unsigned space : {kDevice, kThreadgroup}) {
    threadgroup_[space] = 1;
    simdgroup_[space].assign(simdgroups, 1);
  }
}

void Epochs::pass_threadgroup_barrier(unsigned memory_flags) {
  if ((memory_flags & kSimtMemoryDevice) != 0) ++threadgroup_[kDevice];
  if ((memory_flags & kSimtMemoryThreadgroup) != 0) ++threadgroup_[kThreadgroup];
}

void Epochs::pass_simdgroup_barrier(unsigned simdgroup, unsigned memory_flags) {
  if ((memory_flags & kSimtMemoryDevice) != 0) ++simdgroup_[kDevice][simdgroup];
  if ((memory_flags & kSimtMemoryThreadgroup) != 0) ++simdgroup_[kThreadgroup][simdgroup];
}

// Anonymous memory is zero and costs nothing until touched.
Shadow::Shadow(std::size_t bytes, bool threadgroup_memory)
    : space_(threadgroup_memory ? Epochs::kThreadgroup : Epochs::kDevice),
      mapped_bytes_((bytes + 1) * sizeof(Cell)) {
  void* cells = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (cells == MAP_FAILED) throw std::bad_alloc();
  cells_ = static_cast<Cell*>(cells);
}

Shadow::~Shadow() { munmap(cells_, mapped_bytes_); }

bool Shadow::is_ordered(const Stamp& earlier, const Accessor& by, const Epochs& epochs) const {
  if (earlier.serial == 0) return true;
  if (earlier.serial != epochs.threadgroup_serial() || earlier.spread == kSeveralThreadgroups)
    return space_ == Epochs::kThreadgroup;
  if (earlier.threadgroup_epoch < epochs.threadgroup_epoch(space_)) return true;
  if (earlier.spread == kOneThread && earlier.thread == by.thread) return true;
  if (earlier.spread == kSeveralSimdgroups || earlier.thread / kSimtLanes != by.simdgroup) return false;
  return earlier.simdgroup_epoch < epochs.simdgroup_epoch(space_, by.simdgroup);
}

Conflict Shadow::conflict(Conflict::Kind kind, const Stamp& earlier, const Epochs& epochs) const {
  return {kind, earlier.thread, earlier.spread != kOneThread,
          earlier.serial != epochs.threadgroup_serial() || earlier.spread == kSeveralThreadgroups,
          earlier.pc};
}

Shadow::Stamp Shadow::stamp(const Accessor& by, const Epochs& epochs) const {
  return {epochs.threadgroup_serial(),
          epochs.threadgroup_epoch(space_),
          epochs.simdgroup_epoch(space_, by.simdgroup),
          by.pc,
          static_cast<std::uint16_t>(by.thread),
          kOneThread,
          by.atomic};
}

// Keeps the set of readers that a later write must be ordered with, as far as barriers can tell them apart.
void Shadow::record_read(Stamp& read, const Accessor& by, const Epochs& epochs) const {
  const Stamp mine = stamp(by, epochs);
  if (read.serial == 0 || (space_ == Epochs::kThreadgroup && read.serial != mine.serial)) {
    read = mine;
  } else if (read.serial != mine.serial) {
    read.spread = kSeveralThreadgroups;
  } else if (read.spread == kSeveralThreadgroups) {
    return;
  } else if (read.threadgroup_epoch < mine.threadgroup_epoch) {
    read = mine;
  } else if (read.spread == kSeveralSimdgroups) {
    return;
  } else if (read.thread / kSimtLanes != by.simdgroup) {
    read.spread = kSeveralSimdgroups;
  } else if (read.simdgroup_epoch < mine.simdgroup_epoch ||
             (read.spread == kOneThread && read.thread == by.thread)) {
    read = mine;
  } else {
    read.spread = kOneSimdgroup;
  }
  read.atomic = read.atomic && by.atomic;
}

Conflict Shadow::access(std::size_t offset, std::size_t bytes, bool is_write, const Accessor& by,
                        const Epochs& epochs) {
  using Kind = Conflict::Kind;
  for (std::size_t i = offset; i < offset + bytes; ++i) {
    Cell& cell = cells_[i];
    if (!is_write && space_ == Epochs::kThreadgroup && cell.write.serial != epochs.threadgroup_serial())
      return {Kind::kUninitialised, 0, false, false, 0};
    if (!(by.atomic && cell.write.atomic) && !is_ordered(cell.write, by, epochs))
      return conflict(is_write ? Kind::kWriteThenWrite : Kind::kWriteThenRead, cell.write, epochs);
    if (!is_write) {
      record_read(cell.read, by, epochs);
      continue;
    }
    if (!(by.atomic && cell.read.atomic) && !is_ordered(cell.read, by, epochs))
      return conflict(Kind::kReadThenWrite, cell.read, epochs);
    cell.write = stamp(by, epochs);
  }
  return {};
}

}  // namespace metalhead::simt
