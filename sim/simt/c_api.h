// The SIMT runtime for callers without C++: Python's ctypes.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define METALHEAD_SIMT_API __attribute__((visibility("default")))

extern "C" {

/// One function constant: its index and the bytes of its value.
struct SimtApiConstant {
  int32_t index;
  uint32_t bytes;
  const void* value;
};

/// One dispatch; see metalhead::simt::Dispatch.
struct SimtApiDispatch {
  const char* kernel;
  const SimtApiConstant* constants;
  uint32_t constant_count;
  void* buffers[31];
  uint64_t buffer_bytes[31];
  uint64_t threadgroup_bytes[31];
  uint32_t threadgroups[3];
  uint32_t threads[3];
  uint64_t seed;
};

/// Returns JSON with "error" and "counters"; free it with simt_api_free.
METALHEAD_SIMT_API char* simt_api_run(const SimtApiDispatch* dispatch);
/// Returns JSON that describes all kernels; free it with simt_api_free.
METALHEAD_SIMT_API char* simt_api_kernels();
METALHEAD_SIMT_API void simt_api_free(char* text);
}
