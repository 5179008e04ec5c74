// What the tests of the Metal backend share: a device over the test kernels, launches for them, leak checks.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/device.h"
#include "core/error.h"
#include "devices/metal/metal_device.h"
#include "objc/fault.h"
#include "objc/runtime.h"
#include "objc/validation.h"
#include "params/function_constants.h"

namespace metalhead::metal_test {

/// Matches `VectorParams` of the test shaders.
struct VectorParams {
  uint32_t count;
  float scale;
};

/// `METALHEAD_TEST_LIBRARY` is the library file that the build made of the test shaders.
inline MetalOptions test_options() {
  MetalOptions options;
  options.library_path = METALHEAD_TEST_LIBRARY;
  options.cache_folder = "";
  return options;
}

/// A contiguous float32 vector on the device.
inline Tensor make_vector(Device& device, int64_t count) {
  Tensor tensor;
  tensor.buffer = device.allocate(static_cast<uint64_t>(count) * sizeof(float));
  tensor.rank = 1;
  tensor.shape[0] = count;
  tensor.strides[0] = 1;
  return tensor;
}

inline void fill(const Tensor& tensor, float first, float step) {
  for (int64_t i = 0; i < tensor.shape[0]; ++i)
    tensor.data_as<float>()[i] = first + step * static_cast<float>(i);
}

/// out = a + scale * b; `out_access` lets a test lie about what the launch writes.
inline Launch add_launch(const Tensor& a, const Tensor& b, const Tensor& out, float scale = 1,
                         Access out_access = Access::kWrite) {
  Launch launch;
  launch.kernel = "vector_add";
  launch.add_dtype(DType::kFloat32);
  launch.bind(0, a, Access::kRead);
  launch.bind(1, b, Access::kRead);
  launch.bind(2, out, out_access);
  const auto count = static_cast<uint32_t>(out.shape[0]);
  launch.grid = {(count + 63) / 64, 1, 1};
  launch.threads = {64, 1, 1};
  launch.set_params(VectorParams{count, scale});
  return launch;
}

/// out[i] = repeat * a[i] (+ bias[i]): a kernel whose constants must be given.
inline Launch repeated_launch(const Tensor& a, const Tensor& out, uint32_t repeat,
                              const Tensor* bias = nullptr) {
  Launch launch = add_launch(a, a, out);
  launch.kernel = "repeated";
  launch.dtype_count = 0;
  launch.buffers = {};
  launch.bind(0, a, Access::kRead);
  launch.bind(1, out, Access::kWrite);
  if (bias != nullptr) launch.bind(2, *bias, Access::kRead);
  launch.constants.set_uint(kConstantHeadDim, repeat);
  launch.constants.set_bool(kConstantHasSoftcap, bias != nullptr);
  return launch;
}

/// Objects that live as long as the process.
inline bool is_permanent(const std::string& class_name) { return class_name == "SimDevice"; }

/// Live look-alike objects but the permanent ones.
inline std::map<std::string, long> leaks() {
  std::map<std::string, long> found = sim::live_objects();
  std::erase_if(found, [](const auto& entry) { return is_permanent(entry.first); });
  return found;
}

/// The queue's thread lets go of its last objects a moment after a wait returns.
inline std::string leak_report() {
  for (int attempt = 0; attempt < 2000 && !leaks().empty(); ++attempt) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::string text;
  for (const auto& [name, count] : leaks()) text += name + ": " + std::to_string(count) + "\n";
  return text;
}

/// A test with a device; at its end nothing of it may be alive.
class MetalTest : public testing::Test {
 protected:
  void SetUp() override { device_ = make_metal_device(test_options()); }
  void TearDown() override {
    sim::clear_faults();
    device_.reset();
    EXPECT_EQ(leak_report(), "");
  }

  Device& device() { return *device_; }

  /// Runs a small addition and checks it: the device is in working order.
  void expect_working() {
    const Tensor a = make_vector(device(), 100), b = make_vector(device(), 100),
                 out = make_vector(device(), 100);
    fill(a, 1, 1);
    fill(b, 10, 2);
    device().launch(add_launch(a, b, out));
    device().wait();
    for (int i = 0; i < 100; ++i) ASSERT_EQ(out.data_as<float>()[i], 11 + 3 * static_cast<float>(i));
    for (const Tensor& tensor : {a, b, out}) device().release(tensor.buffer);
  }

  std::unique_ptr<Device> device_;
};

/// The text of the `Error` that `run` throws; a failure if it throws nothing or something else.
template <class Error, class Run>
std::string error_text(Run run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another error: " << error.what();
    return "";
  }
  ADD_FAILURE() << "no error";
  return "";
}

}  // namespace metalhead::metal_test
