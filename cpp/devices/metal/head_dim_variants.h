// Head sizes that kernels are instantiated for, where a kernel is a template over the head size.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace metalhead::metal {

/// Sizes in rising order; an instantiation serves every head whose larger dim is at most its size.
struct HeadDimVariants {
  std::string_view kernel;
  std::span<const uint32_t> sizes;
};

/// Kernels that are not listed have one instantiation for all head sizes.
constexpr std::array<HeadDimVariants, 0> kHeadDimVariants = {};

/// `_d128` for the smallest fitting size, empty if the kernel has no such suffix, `_d0` if no size fits.
inline std::string head_dim_suffix(std::string_view kernel, uint32_t head_dim, uint32_t value_dim,
                                   std::span<const HeadDimVariants> rows = kHeadDimVariants) {
  const uint32_t wanted = head_dim > value_dim ? head_dim : value_dim;
  for (const HeadDimVariants& row : rows) {
    if (row.kernel != kernel) continue;
    for (uint32_t size : row.sizes) {
      if (size >= wanted) return "_d" + std::to_string(size);
    }
    return "_d0";
  }
  return "";
}

}  // namespace metalhead::metal
