// Sizes that planners ask the Metal device for.
#pragma once

#include <cstdint>

namespace metalhead::metal {

/// Query rows, times query heads of a group, that one threadgroup of `sdpa` takes.
constexpr uint32_t kPrefillQueryRows = 32;

/// Keys below which another threadgroup of `flash_attn_vec` costs more than it saves.
constexpr uint32_t kMinKeysPerSplit = 256;

}  // namespace metalhead::metal
