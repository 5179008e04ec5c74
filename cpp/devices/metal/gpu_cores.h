// Core counts of Apple GPUs by name, because Metal does not tell them.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace metalhead::metal {

struct GpuCores {
  std::string_view name;
  uint32_t cores;
};

/// The largest configuration sold under each name; a longer name stands before its prefix.
constexpr std::array<GpuCores, 17> kGpuCores = {{
    {"Apple M1 Ultra", 64},
    {"Apple M1 Max", 32},
    {"Apple M1 Pro", 16},
    {"Apple M1", 8},
    {"Apple M2 Ultra", 76},
    {"Apple M2 Max", 38},
    {"Apple M2 Pro", 19},
    {"Apple M2", 10},
    {"Apple M3 Ultra", 80},
    {"Apple M3 Max", 40},
    {"Apple M3 Pro", 18},
    {"Apple M3", 10},
    {"Apple M4 Max", 40},
    {"Apple M4 Pro", 20},
    {"Apple M4", 10},
    {"Apple M5", 10},
    {"Simulated", 4},
}};

/// Cores of the GPU with that name; an unknown one is taken for a base model.
constexpr uint32_t gpu_cores(std::string_view name) {
  for (const GpuCores& row : kGpuCores) {
    if (name.substr(0, row.name.size()) == row.name) return row.cores;
  }
  return 10;
}

}  // namespace metalhead::metal
