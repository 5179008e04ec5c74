// What the Metal look-alike needs from whatever executes kernels: their descriptions, and a way to run one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace metalhead::sim {

constexpr int kMaxBufferSlots = 31;

/// One buffer argument of a kernel, as the compiled shader declares it.
struct KernelArgument {
  int index = 0;
  std::string name;
  bool writes = false;
  bool conditional = false;  ///< a function constant, or an expression of several, switches the argument on
  std::optional<int> condition;  ///< the constant's index where it is a single one
  uint32_t element_bytes = 1;
  uint32_t element_alignment = 1;
};

struct KernelConstant {
  int index = 0;
  std::string name;
  std::string type;
  uint32_t bytes = 0;
  bool optional = false;
};

struct KernelDescription {
  std::string name;
  std::string source_file;  ///< the .metal file that holds it
  std::vector<KernelArgument> buffers;
  std::vector<int> threadgroup_arguments;
  std::vector<KernelConstant> constants;
  uint32_t max_threads_per_threadgroup = 1024;
  uint32_t static_threadgroup_bytes = 0;
};

/// A value for a function constant, with the MSL type it was given as.
struct ConstantValue {
  std::string type;
  std::vector<std::byte> bytes;
};

struct KernelCall {
  std::string kernel;
  std::map<int, ConstantValue> constants;
  struct Bound {
    std::byte* data = nullptr;
    uint64_t length = 0;
    bool read_only = false;
  };
  std::array<Bound, kMaxBufferSlots> buffers;
  std::map<int, uint32_t> threadgroup_bytes;
  std::array<uint32_t, 3> threadgroups{};
  std::array<uint32_t, 3> threads{};
  uint64_t seed = 0;
};

/// Bytes that a run read or wrote.
struct TouchedRange {
  const std::byte* begin = nullptr;
  const std::byte* end = nullptr;
  bool written = false;
};

struct KernelResult {
  std::string error;                  ///< empty if the kernel ran through
  bool ranges_known = false;          ///< true if the kernel is compiled with instrumentation
  std::vector<TouchedRange> touched;  ///< sorted by nothing, merged where they join
};

/// The kernel of that host name, if it is linked into the process.
std::optional<KernelDescription> describe_kernel(const std::string& name);

/// Runs one command to its end on the calling thread.
KernelResult run_kernel(const KernelCall& call);

}  // namespace metalhead::sim
