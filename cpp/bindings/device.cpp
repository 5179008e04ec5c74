#include "bindings/device.h"
#include "bindings/gil.h"

#include <optional>
#include <string>

#include "bindings/numpy_access.h"
#include "core/error.h"
#include "devices/device_registry.h"

namespace metalhead::python {

namespace {

nb::dict info_of(const DeviceHandle& handle) {
  nb::dict result;
  for (const auto& [key, value] : handle.device->info()) result[key.c_str()] = value;
  return result;
}

nb::dict statistics_of(const DeviceHandle& handle) {
  const PoolStatistics s = handle.device->pool_statistics();
  nb::dict result;
  result["bytes_in_use"] = s.bytes_in_use;
  result["bytes_cached"] = s.bytes_cached;
  result["peak_bytes_in_use"] = s.peak_bytes_in_use;
  result["limit_bytes"] = s.limit_bytes;
  result["allocations"] = s.allocations;
  result["reuses"] = s.reuses;
  return result;
}

DeviceHandle make_handle(const std::string& name, std::optional<int> threads,
                         std::optional<std::string> instruction_set) {
  if (!threads && !instruction_set) return {&device(name)};
  if (name != "cpu") {
    throw ValueError(
        concat("Device: threads and instruction_set are options of 'cpu', got them for '", name, "'"));
  }
  if (threads && *threads < 1) throw ValueError(concat("Device: threads must be at least 1, got ", *threads));
  return {&cpu_device_with({threads.value_or(0), instruction_set.value_or("")})};
}

}  // namespace

Device& device_from_python(nb::handle object) {
  if (object.is_none()) return default_device();
  if (nb::isinstance<DeviceHandle>(object)) return *nb::cast<DeviceHandle>(object).device;
  if (nb::isinstance<nb::str>(object)) return device(nb::cast<std::string>(object));
  throw TypeError(concat("device must be None, a name or a metalhead.Device, got ", type_text(object)));
}

void bind_device(nb::module_& module) {
  nb::class_<DeviceHandle>(
      module, "Device",
      "A device that runs the operations: `Device(\"cpu\")`, `Device(\"metal\")`.\n\n"
      "`threads` and `instruction_set` choose a CPU device of their own; without them the process\n"
      "shares one. Raises DeviceError for a device that is not present.")
      .def(
          "__init__",
          [](DeviceHandle* self, const std::string& name, std::optional<int> threads,
             std::optional<std::string> instruction_set) {
            new (self) DeviceHandle(make_handle(name, threads, std::move(instruction_set)));
          },
          nb::arg("name"), nb::kw_only(), nb::arg("threads").none() = nb::none(),
          nb::arg("instruction_set").none() = nb::none())
      .def_prop_ro(
          "name", [](const DeviceHandle& h) { return h.device->name(); }, "The device's name.")
      .def("info", &info_of, nb::sig("def info(self) -> dict[str, str]"),
           "Facts about the device, as texts by name.")
      .def(
          "synchronize",
          [](const DeviceHandle& h) {
            const GilRelease nogil;
            h.device->wait();
          },
          "Waits until all work given to the device has finished; raises the first error among it.")
      .def(
          "warm_up",
          [](const DeviceHandle& h) {
            const GilRelease nogil;
            h.device->warm_up();
          },
          "Starts threads and compiles pipelines that first calls would otherwise wait for.")
      .def("pool_stats", &statistics_of, nb::sig("def pool_stats(self) -> dict[str, int]"),
           "Bytes and counts of the device's buffer pool.")
      .def(
          "set_pool_limit", [](const DeviceHandle& h, uint64_t bytes) { h.device->set_pool_limit(bytes); },
          nb::arg("bytes"), "Bounds how many bytes of freed buffers are kept for reuse.")
      .def(
          "trim_pool", [](const DeviceHandle& h) { h.device->trim_pool(); },
          "Gives cached buffers back to the system.")
      .def(
          "__eq__", [](const DeviceHandle& a, const DeviceHandle& b) { return a.device == b.device; },
          nb::is_operator(), nb::sig("def __eq__(self, other: object) -> bool"))
      .def("__hash__", [](const DeviceHandle& h) { return reinterpret_cast<intptr_t>(h.device); })
      .def("__repr__",
           [](const DeviceHandle& h) { return concat("metalhead.Device('", h.device->name(), "')"); });
  module.def("devices", &device_names, "Names of the devices of this machine, the default candidate first.");
  module.def(
      "default_device", [] { return DeviceHandle{&default_device()}; },
      "The device that runs calls which name none.");
  module.def(
      "set_default_device", [](nb::handle object) { set_default_device(device_from_python(object)); },
      nb::arg("device"), "Makes a device, given by name or as a Device, the default.");
}

}  // namespace metalhead::python
