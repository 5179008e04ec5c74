// Aligned host memory, on huge pages where it is large.
#pragma once

#include <cstddef>
#include <cstdint>

namespace metalhead::cpu {

/// Pages of this size and alignment save the address translation that costs 4 KiB pages a fifth of the
/// bandwidth.
constexpr uint64_t kHugePageBytes = uint64_t{2} << 20;

/// `size` bytes aligned to 64, from 2 MiB on to 2 MiB; nullptr if there is no memory or size is 0.
void* allocate_memory(uint64_t size) noexcept;

/// Gives memory of `allocate_memory` back; `size` is the one that was asked for.
void free_memory(void* data, uint64_t size) noexcept;

}  // namespace metalhead::cpu
