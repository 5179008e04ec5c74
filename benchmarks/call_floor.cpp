// Lower bounds for the cost of a call: an empty nanobind function, and a kernel without Python, checks or
// planning.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <chrono>

#include "devices/device_registry.h"
#include "ops/attention.h"

namespace nb = nanobind;
using metalhead::AttentionArguments;
using metalhead::Buffer;
using metalhead::Device;
using metalhead::Launch;
using metalhead::Tensor;

namespace {

using Floats = nb::ndarray<float, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

/// Keeps the launch of an op instead of running it.
class RecordingDevice final : public Device {
 public:
  explicit RecordingDevice(Device& device) : device_(device) {}
  const std::string& name() const override { return device_.name(); }
  const metalhead::DeviceLimits& limits() const override { return device_.limits(); }
  metalhead::DeviceInfo info() const override { return device_.info(); }
  bool reads_host_memory() const override { return true; }
  Buffer allocate(uint64_t size) override { return device_.allocate(size); }
  void release(const Buffer& buffer) noexcept override { device_.release(buffer); }
  Buffer wrap(void* data, uint64_t size) override { return device_.wrap(data, size); }
  void launch(const Launch& launch) override { recorded = launch; }
  void wait() override {}
  void warm_up() override {}
  metalhead::PoolStatistics pool_statistics() const override { return device_.pool_statistics(); }
  void set_pool_limit(uint64_t) override {}
  void trim_pool() override {}

  Launch recorded;

 private:
  Device& device_;
};

Tensor tensor_of(const Floats& array) {
  Tensor tensor;
  tensor.rank = 4;
  for (size_t i = 0; i < 4; ++i) tensor.shape[i] = static_cast<int64_t>(array.shape(i));
  set_contiguous_strides(tensor);
  tensor.buffer = {array.data(), array.nbytes(), nullptr};
  return tensor;
}

/// Seconds for one run of the kernel that attention over these arrays takes (one launch, no reduce).
double bare_kernel_seconds(Floats q, Floats k, Floats v, Floats out, int repeats) {
  Device& device = metalhead::device("cpu");
  RecordingDevice recorder(device);
  AttentionArguments arguments;
  arguments.query = tensor_of(q);
  arguments.key = tensor_of(k);
  arguments.value = tensor_of(v);
  arguments.out = tensor_of(out);
  run_attention(recorder, arguments);
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < repeats; ++i) device.launch(recorder.recorded);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / repeats;
}

void no_operation(Floats, Floats, Floats) {}

}  // namespace

NB_MODULE(call_floor, module) {
  module.def("no_operation", &no_operation);
  module.def("bare_kernel_seconds", &bare_kernel_seconds, nb::arg("q"), nb::arg("k"), nb::arg("v"),
             nb::arg("out"), nb::arg("repeats"));
}
