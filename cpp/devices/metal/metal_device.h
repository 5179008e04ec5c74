// Entry points of the Metal device; nothing of Metal shows here.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/device.h"

namespace metalhead {

/// What may differ from the defaults; tests and tools use it.
struct MetalOptions {
  std::optional<std::string> library_path;    ///< the metallib; default: beside the extension module
  std::optional<std::string> cache_folder;    ///< default: METALHEAD_CACHE_DIR, else the user's cache folder
  uint32_t launches_per_command_buffer = 50;  ///< launches after which work is committed
  uint64_t bytes_per_command_buffer = 50u << 20;  ///< bound bytes after which work is committed
};

/// True if this machine has a GPU that the kernels run on (Apple7 or later).
bool metal_device_available();

/// The default GPU; throws DeviceError if there is none or the driver refuses.
std::unique_ptr<Device> make_metal_device();
std::unique_ptr<Device> make_metal_device(const MetalOptions& options);

}  // namespace metalhead
