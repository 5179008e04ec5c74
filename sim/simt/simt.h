// Runs Metal kernels on the CPU as a GPU would: find a kernel, describe a dispatch, run it.
//
// Kernels register themselves when the translation units that tools/metal/generate.py writes are linked or
// loaded. run() executes all threadgroups of one dispatch on the calling OS thread and returns when they have
// finished. Several OS threads may run dispatches at the same time: a dispatch shares nothing with another
// but the registry and whatever memory both are given.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

struct SimtKernel;

namespace metalhead::simt {

/// Limits of an Apple GPU, as Metal's API reports them.
inline constexpr std::size_t kMaxBuffers = 31;
inline constexpr std::size_t kMaxThreadsPerThreadgroup = 1024;
inline constexpr std::size_t kMaxThreadgroupBytes = 32768;
inline constexpr std::size_t kThreadExecutionWidth = 32;

/// How a kernel may use a buffer, from its type: `constant` and `const device` are read only.
enum class Access { kRead, kReadWrite };

/// One buffer or threadgroup argument of a kernel.
struct ArgumentInfo {
  int index = 0;     ///< N of [[buffer(N)]] or [[threadgroup(N)]]
  std::string name;  ///< the parameter's name
  std::string type;  ///< its type as the shader spells it
  Access access = Access::kRead;
  std::string condition;  ///< the function constant that switches the argument on; empty if always there
  std::size_t element_bytes = 0;  ///< bytes of what it points at: the least length of a buffer
  std::size_t element_align = 0;  ///< alignment of the same
};

/// One function constant that a kernel may read.
struct ConstantInfo {
  int index = 0;
  std::string name;
  std::string type;  ///< MSL type: bool, int, uint, float, ...
  std::size_t bytes = 0;
  bool required = true;  ///< false if the shader asks is_function_constant_defined about it
};

/// What the host may ask about a kernel before it runs it.
struct KernelInfo {
  std::string name;  ///< the host name
  std::string file;
  int line = 0;
  std::vector<ArgumentInfo> buffers;
  std::vector<ArgumentInfo> threadgroup_arguments;
  std::vector<ConstantInfo> constants;
  std::size_t static_threadgroup_bytes = 0;  ///< of the variables declared in the kernel's body
  std::size_t max_threads_per_threadgroup = kMaxThreadsPerThreadgroup;
  bool instrumented = false;           ///< compiled with access tracking: races, bounds, traffic
  const SimtKernel* kernel = nullptr;  ///< for the runtime
};

/// Returns the kernel of that host name, or null; the pointer stays valid for the life of the process.
/// Throws std::logic_error if two shaders registered the name.
const KernelInfo* find_kernel(std::string_view name);

/// Returns the host names of all registered kernels, sorted.
std::vector<std::string> kernel_names();

/// A three-dimensional count.
struct Size {
  std::uint32_t x = 1, y = 1, z = 1;
};

/// A range of memory bound to a buffer index; `setBytes` data is bound the same way.
struct BufferRange {
  void* data = nullptr;
  std::size_t length = 0;  ///< bytes
};

/// One dispatch: everything that a compute command encoder would have collected.
struct Dispatch {
  const KernelInfo* kernel = nullptr;
  std::map<int, std::vector<std::byte>> constants;  ///< function constants by index, as bytes of their type
  std::array<BufferRange, kMaxBuffers> buffers{};
  std::array<std::size_t, kMaxBuffers>
      threadgroup_bytes{};  ///< lengths of [[threadgroup(N)]] blocks; 0: not set
  Size threadgroups;
  Size threads_per_threadgroup;
  /// 0 runs threads and threadgroups in their natural order; any other value shuffles both.
  std::uint64_t seed = 0;
};

/// Bytes `[begin, end)` counted from where a binding starts.
struct ByteRange {
  std::uint64_t begin = 0, end = 0;
};

/// Bytes moved through one binding; only instrumented kernels count.
struct Traffic {
  std::string name;                     ///< parameter or variable name
  int index = 0;                        ///< buffer index; -1 for threadgroup memory
  std::uint64_t lane_load_bytes = 0;    ///< every load of every thread
  std::uint64_t load_bytes = 0;         ///< distinct bytes of each load instruction of each simdgroup, summed
  std::uint64_t store_bytes = 0;        ///< the same for stores
  std::uint64_t unique_load_bytes = 0;  ///< distinct bytes loaded in the whole dispatch
  std::uint64_t unique_store_bytes = 0;   ///< distinct bytes stored in the whole dispatch
  std::uint64_t simdgroup_loads = 0;      ///< load instructions executed by simdgroups
  std::uint64_t simdgroup_stores = 0;     ///< store instructions executed by simdgroups
  std::vector<ByteRange> loaded, stored;  ///< the distinct bytes as ranges in rising order
};

/// What happened while a dispatch ran.
struct Counters {
  std::uint64_t threadgroups = 0;
  std::uint64_t threads = 0;
  std::uint64_t simdgroup_operations = 0;  ///< simd_* and quad_* functions, once a simdgroup
  std::uint64_t matrix_multiplies = 0;     ///< 8x8 products, once a simdgroup
  std::uint64_t threadgroup_barriers = 0;  ///< once a threadgroup
  std::uint64_t simdgroup_barriers = 0;    ///< once a simdgroup
  std::uint64_t atomic_operations = 0;     ///< once a thread
  std::uint64_t threadgroup_bytes = 0;     ///< static and dynamic threadgroup memory of one threadgroup
  std::vector<Traffic> traffic;  ///< instrumented kernels only: buffers by index, then threadgroup memory
};

/// The outcome: `error` is empty, or says what went wrong and where; buffers may then be partly written.
struct Result {
  std::string error;
  Counters counters;
};

/// Checks the dispatch as Metal's validation would, runs it, and returns its counters or the first error.
Result run(const Dispatch& dispatch);

}  // namespace metalhead::simt
