// The one list of devices; each is made at first use and kept for the life of the process.
#pragma once

#include <string>
#include <vector>

#include "core/device.h"
#include "devices/cpu/cpu_device.h"

namespace metalhead {

/// Names of the devices that are present: `cpu`, and `metal` where the library was built for it and finds
/// one.
std::vector<std::string> device_names();

/// The device of that name; throws DeviceError that lists those present.
Device& device(const std::string& name);

/// The CPU device with these options; equal choices give the same device, no choices give `device("cpu")`.
Device& cpu_device_with(const cpu::CpuOptions& options);

/// The name last set, else METALHEAD_DEVICE, else `metal` if present, else `cpu`; throws DeviceError if it is
/// absent.
std::string default_device_name();

/// `device(default_device_name())`.
Device& default_device();

/// The device must be one of those above.
void set_default_device(Device& device);

}  // namespace metalhead
