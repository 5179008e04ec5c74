// Devices are never destroyed: at exit their threads just end, which cannot hang.
#include "devices/device_registry.h"

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "core/error.h"
#include "core/fork.h"
#include "core/settings.h"
#ifdef METALHEAD_WITH_METAL
#include "devices/metal/metal_device.h"
#endif

namespace metalhead {
namespace {

struct DeviceRow {
  const char* name;
  bool (*present)();
  Device& (*get)();
};

struct Registry {
  ForkSafeMutex mutex;
  std::map<std::pair<int, std::string>, std::unique_ptr<Device>> cpu_devices;  ///< threads, instruction set
  std::atomic<Device*> plain_cpu_device{nullptr};
  std::atomic<Device*> default_device{nullptr};
};

ForkSafeLazy<Registry> registry_of_program([] { return Registry{}; });

Registry& registry() { return registry_of_program.get(); }

/// Remembered by address: making the choices reads files, which a call cannot afford.
Device& plain_cpu_device() {
  std::atomic<Device*>& known = registry().plain_cpu_device;
  Device* made = known.load(std::memory_order_acquire);
  if (made == nullptr) known.store(made = &cpu_device_with({}), std::memory_order_release);
  return *made;
}

#ifdef METALHEAD_WITH_METAL
Device& metal_device() {
  static Device& made = *make_metal_device().release();
  return made;
}
#endif

/// Every device of this build, the preferred one first; nobody prefers a simulated GPU.
constexpr DeviceRow kDevices[] = {
#if defined(METALHEAD_WITH_METAL) && !defined(METALHEAD_SIMULATED_METAL)
    {"metal", metal_device_available, metal_device},
#endif
    {"cpu", [] { return true; }, plain_cpu_device},
#ifdef METALHEAD_SIMULATED_METAL
    {"metal", metal_device_available, metal_device},
#endif
};

}  // namespace

std::vector<std::string> device_names() {
  std::vector<std::string> names;
  for (const DeviceRow& row : kDevices) {
    if (row.present()) names.emplace_back(row.name);
  }
  return names;
}

Device& device(const std::string& name) {
  for (const DeviceRow& row : kDevices) {
    if (name == row.name && row.present()) return row.get();
  }
  std::string present;
  for (const std::string& each : device_names()) present += (present.empty() ? "" : ", ") + each;
  throw DeviceError(concat("device: name must be one of those present (", present, "), got '", name, "'"));
}

Device& cpu_device_with(const cpu::CpuOptions& options) {
  const cpu::CpuOptions chosen = cpu::resolve(options);
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  std::unique_ptr<Device>& made = all.cpu_devices[{chosen.threads, chosen.instruction_set}];
  if (made == nullptr) made = cpu::make_cpu_device(chosen);
  return *made;
}

std::string default_device_name() { return default_device().name(); }

Device& default_device() {
  std::atomic<Device*>& chosen = registry().default_device;
  if (Device* const known = chosen.load(std::memory_order_acquire)) return *known;
  const std::optional<std::string>& wanted = settings().default_device;
  Device* first = nullptr;
  try {
    first = &device(wanted.value_or(device_names().front()));
  } catch (const DeviceError& error) {
    if (!wanted) throw;
    throw DeviceError(concat("METALHEAD_DEVICE: ", error.what()));
  }
  Device* none = nullptr;
  // Another thread may have set one meanwhile: that choice stands.
  return chosen.compare_exchange_strong(none, first) ? *first : *none;
}

void set_default_device(Device& device) {
  registry().default_device.store(&device, std::memory_order_release);
}

}  // namespace metalhead
