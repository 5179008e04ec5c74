// Which function runs which kernel on the CPU, for each instruction set that the library was built for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/launch.h"

namespace metalhead::cpu {

/// Memory of one worker thread that kernels use for tiles; grows, never shrinks below its high-water mark.
class Scratch {
 public:
  Scratch() = default;
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  /// At least `size` bytes, aligned to 64, valid until the next call of `reserve`; contents are undefined
  /// unless the launch goes on.
  std::byte* reserve(size_t size);

  /// What is there is of no use to the launch that begins.
  void begin_launch();

  /// True from the first `reserve` of a launch on: the same size then returns the same memory with what this
  /// thread's last chunk of the launch has left in it.
  bool goes_on() const;

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  bool goes_on_ = false;
};

/// Runs the threadgroups `[begin, end)` of the launch, counted with x fastest; groups are independent of each
/// other.
using KernelFunction = void (*)(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch);

struct KernelEntry {
  std::string_view name;
  KernelFunction function;
};

/// Kernels of one instruction set.
struct KernelTable {
  std::string_view instruction_set;  ///< x86-64-v2, avx2, avx512, avx512_bf16, amx_bf16 or neon
  std::span<const KernelEntry> entries;

  /// The kernel's function; throws KernelError that names the kernel and the instruction set.
  KernelFunction find(std::string_view name) const;
};

/// The tables that this machine can run, the most capable one first, emulated ones of test builds last.
const std::vector<KernelTable>& available_kernel_tables();

/// Names of the available tables in that order: `avx512, avx2, x86-64-v2`.
std::string available_instruction_sets();

/// The table of that name, or the best one if the name is empty; throws DeviceError that lists what is
/// available.
const KernelTable& select_kernel_table(std::string_view instruction_set);

}  // namespace metalhead::cpu
