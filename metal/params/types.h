// Fixed-size types that mean the same in a shader and on the host.
#pragma once

#ifdef __METAL_VERSION__
#include <metal_stdlib>
#define METALHEAD_STATIC_ASSERT(condition) static_assert(condition, #condition)
typedef int metalhead_int;
typedef uint metalhead_uint;
typedef long metalhead_long;
#else
#include <cstdint>
#define METALHEAD_STATIC_ASSERT(condition) static_assert(condition, #condition)
typedef int32_t metalhead_int;
typedef uint32_t metalhead_uint;
typedef int64_t metalhead_long;
#endif
