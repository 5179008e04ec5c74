// The C interface between compiled shaders and the SIMT runtime; it includes nothing, so both sides can use
// it.
#pragma once

enum {
  kSimtMaxBuffers = 31,
  kSimtMaxThreadgroupArguments = 31,
  kSimtMaxConstants = 256,
  kSimtConstantBytes = 16,
  kSimtLanes = 32,
};

/// What a kernel argument is bound to; the values after kSimtThreadgroup are thread and grid positions.
enum SimtArgumentKind {
  kSimtBuffer,
  kSimtThreadgroup,
  kSimtThreadPositionInGrid,
  kSimtThreadPositionInThreadgroup,
  kSimtThreadIndexInThreadgroup,
  kSimtThreadgroupPositionInGrid,
  kSimtThreadsPerThreadgroup,
  kSimtThreadsPerGrid,
  kSimtThreadgroupsPerGrid,
  kSimtThreadIndexInSimdgroup,
  kSimtSimdgroupIndexInThreadgroup,
  kSimtSimdgroupsPerThreadgroup,
  kSimtThreadsPerSimdgroup,
  kSimtThreadIndexInQuadgroup,
  kSimtQuadgroupIndexInThreadgroup,
  kSimtQuadgroupsPerThreadgroup,
};

enum SimtAccess { kSimtRead, kSimtReadWrite };

/// Flags of a collective operation.
enum SimtCollectiveFlags { kSimtAllowInactive = 0, kSimtAllLanes = 1 };

/// Scopes of simt_barrier, and the memory it orders (bits as in metal::mem_flags).
enum SimtBarrierScope { kSimtBarrierThreadgroup, kSimtBarrierSimdgroup };
enum SimtMemoryFlags { kSimtMemoryDevice = 1, kSimtMemoryThreadgroup = 2 };

enum SimtAtomicOperation {
  kSimtAtomicLoad,
  kSimtAtomicStore,
  kSimtAtomicExchange,
  kSimtAtomicAdd,
  kSimtAtomicSub,
  kSimtAtomicMin,
  kSimtAtomicMax,
  kSimtAtomicAnd,
  kSimtAtomicOr,
  kSimtAtomicXor,
  kSimtAtomicCompareExchange,
};
enum SimtAtomicType { kSimtAtomicInt, kSimtAtomicUint, kSimtAtomicFloat };

struct SimtUint3 {
  unsigned x, y, z;
};

/// A line of shader source.
struct SimtPlace {
  const char* file;
  int line;
};

/// Where one thread stands in its threadgroup and grid.
struct SimtThread {
  SimtUint3 position_in_grid, position_in_threadgroup;
  unsigned index_in_threadgroup, lane, simdgroup;
};

/// What all threads of a threadgroup share: bindings and sizes.
struct SimtCall {
  void* buffers[kSimtMaxBuffers];
  void* threadgroup_blocks[kSimtMaxThreadgroupArguments];
  SimtUint3 threadgroup_position, threads_per_threadgroup, threadgroups_per_grid, threads_per_grid;
  unsigned simdgroups_per_threadgroup;
};

/// One kernel argument; element sizes are bytes of what the pointer or reference points at.
struct SimtArgument {
  SimtArgumentKind kind;
  int index;
  const char* name;
  const char* type;
  SimtAccess access;
  const char* condition;  ///< the constant that switches the argument on, or null
  bool (*enabled)();      ///< its value in the running dispatch, or null
  unsigned element_bytes, element_align;
};

/// One function constant, by index, name and MSL type.
struct SimtConstant {
  int index;
  const char* name;
  const char* type;
  unsigned bytes;
  bool optional;  ///< the shader asks is_function_constant_defined about it
};

typedef void (*SimtThunk)(const SimtCall& call, const SimtThread& thread);

/// A kernel with everything that the runtime needs to check and run it.
struct SimtKernel {
  const char* name;
  const char* file;
  int line;
  SimtThunk thunk;
  const void* function;
  const SimtArgument* arguments;
  int argument_count;
  const SimtConstant* constants;
  int constant_count;
  int max_threads_per_threadgroup;
  bool instrumented;
};

/// A threadgroup variable declared in a kernel body; `function` is the kernel it belongs to.
struct SimtThreadgroupVariable {
  const void* function;
  const char* name;
  int line;
  unsigned bytes;
};

/// The function constants of the running dispatch.
struct SimtConstantValues {
  unsigned char defined[kSimtMaxConstants];
  alignas(16) unsigned char values[kSimtMaxConstants][kSimtConstantBytes];
};

/// Combines the operands of all active lanes; returns 0, or 1 + 256 * reader + source for a read of an
/// inactive lane, or -1 where lanes that must agree do not.
typedef int (*SimtCombine)(void* const* operands, unsigned active);

extern "C" {
extern __thread const SimtConstantValues* simt_constant_values;

void simt_register_kernel(const SimtKernel* kernel);
void simt_register_threadgroup_variables(SimtThreadgroupVariable* first, SimtThreadgroupVariable* last);

void simt_barrier(int scope, unsigned memory_flags, SimtPlace place);
void simt_collective(const char* operation, void* operand, SimtCombine combine, unsigned flags,
                     SimtPlace place);
unsigned simt_lane();
unsigned simt_active_lanes();
void* simt_threadgroup_variable(const SimtThreadgroupVariable* variable);
[[noreturn]] void simt_undefined_constant(int index, const char* name, SimtPlace place);
[[noreturn]] void simt_fail(const char* message, SimtPlace place);
void simt_matrix_multiplied();
unsigned simt_atomic(int operation, int type, void* object, unsigned operand, unsigned* expected);
}
