// Everything that Metal may refuse: typed errors with its text, nothing leaked, and the next call works.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "metal_fixture.h"

namespace metalhead::metal_test {
namespace {

using sim::Fault;
using FailureTest = MetalTest;

TEST_F(FailureTest, device_absent) {
  sim::inject_fault(Fault::kDeviceAbsent, "", 0, 2);
  EXPECT_EQ(error_text<DeviceError>([] { make_metal_device(test_options()); }),
            "metal: this machine has no Apple GPU of family Apple7 (M1) or later");
  sim::inject_fault(Fault::kDeviceAbsent, "", 0, 2);
  EXPECT_FALSE(metal_device_available());
  EXPECT_TRUE(metal_device_available());
  expect_working();
}

TEST_F(FailureTest, device_too_old) {
  sim::inject_fault(Fault::kOldDevice, "", 0, 2);
  EXPECT_FALSE(metal_device_available());
}

TEST_F(FailureTest, no_command_queue) {
  sim::inject_fault(Fault::kQueue);
  EXPECT_EQ(error_text<DeviceError>([] { make_metal_device(test_options()); }),
            "metal: the driver gave no command queue or fence");
  sim::inject_fault(Fault::kFence);
  error_text<DeviceError>([] { make_metal_device(test_options()); });
}

TEST_F(FailureTest, kernel_missing) {
  const Tensor a = make_vector(device(), 64), out = make_vector(device(), 64);
  Launch launch = add_launch(a, a, out);
  launch.kernel = "no_such_kernel";
  EXPECT_EQ(error_text<KernelError>([&] { device().launch(launch); }),
            "metal: kernel no_such_kernel_float32 is missing or cannot be specialised: "
            "function no_such_kernel_float32 was not found in the library");
  launch = add_launch(a, a, out);
  launch.dtypes[0] = DType::kUInt8;
  EXPECT_NE(error_text<KernelError>([&] { device().launch(launch); }).find("vector_add_uint8"),
            std::string::npos);
  for (const Tensor& tensor : {a, out}) device().release(tensor.buffer);
  expect_working();
}

TEST_F(FailureTest, constants_missing_or_refused) {
  const Tensor a = make_vector(device(), 64), out = make_vector(device(), 64);
  fill(a, 0, 0);
  Launch launch = repeated_launch(a, out, 1);
  launch.constants = {};
  device().launch(launch);
  EXPECT_NE(error_text<DeviceError>([&] { device().wait(); }).find("kHasBias"), std::string::npos);
  sim::inject_fault(Fault::kFunction, "Failed to build function constants");
  launch.constants.set_uint(kConstantHeadDim, 1);
  EXPECT_EQ(error_text<KernelError>([&] { device().launch(launch); }),
            "metal: kernel repeated is missing or cannot be specialised: Failed to build function constants");
  for (const Tensor& tensor : {a, out}) device().release(tensor.buffer);
  expect_working();
}

TEST_F(FailureTest, pipeline_creation_fails) {
  sim::inject_fault(Fault::kPipeline, "Compiler encountered an internal error");
  const Tensor a = make_vector(device(), 64), out = make_vector(device(), 64);
  EXPECT_EQ(error_text<KernelError>([&] { device().launch(add_launch(a, a, out)); }),
            "metal: no pipeline for kernel vector_add_float32: Compiler encountered an internal error");
  for (const Tensor& tensor : {a, out}) device().release(tensor.buffer);
  expect_working();
}

TEST_F(FailureTest, library_missing_or_damaged) {
  MetalOptions options = test_options();
  options.library_path = "/nonexistent/metalhead.metallib";
  device_ = make_metal_device(options);
  const Tensor a = make_vector(device(), 64), out = make_vector(device(), 64);
  const std::string text = error_text<KernelError>([&] { device().launch(add_launch(a, a, out)); });
  EXPECT_NE(text.find("/nonexistent/metalhead.metallib: the file is missing"), std::string::npos) << text;
  for (const Tensor& tensor : {a, out}) device().release(tensor.buffer);
  device_ = make_metal_device(test_options());
  sim::inject_fault(Fault::kLibraryFile, "damaged");
  device_ = make_metal_device(test_options());
  const Tensor b = make_vector(device(), 64), b_out = make_vector(device(), 64);
  EXPECT_NE(error_text<KernelError>([&] { device().launch(add_launch(b, b, b_out)); }).find("damaged"),
            std::string::npos);
  for (const Tensor& tensor : {b, b_out}) device().release(tensor.buffer);
  device_ = make_metal_device(test_options());
  expect_working();
}

TEST_F(FailureTest, allocation_fails) {
  sim::inject_fault(Fault::kBufferAllocation, "", 0, 2);
  EXPECT_NE(error_text<MemoryError>([&] { device().allocate(5000); }).find("5120 bytes"), std::string::npos);
  sim::inject_fault(Fault::kBufferAllocation, "", 0, 1);
  device().release(device().allocate(5000));
  EXPECT_EQ(error_text<MemoryError>([&] { device().allocate(uint64_t{1} << 40); }),
            "metal: one buffer may have at most 17179869184 bytes, got 1099511627776");
  expect_working();
}

TEST_F(FailureTest, wrapping_fails) {
  void* memory = std::aligned_alloc(16384, 16384);
  sim::inject_fault(Fault::kBufferWrap);
  EXPECT_EQ(device().wrap(memory, 16384).handle, nullptr);
  const Buffer wrapped = device().wrap(memory, 16384);
  EXPECT_NE(wrapped.handle, nullptr);
  device().release(wrapped);
  device_.reset();
  std::free(memory);
}

TEST_F(FailureTest, no_command_buffer_or_encoder) {
  const Tensor a = make_vector(device(), 64), out = make_vector(device(), 64);
  fill(a, 0, 0);
  sim::inject_fault(Fault::kCommandBuffer);
  EXPECT_EQ(error_text<DeviceError>([&] { device().launch(add_launch(a, a, out)); }),
            "metal: the driver gave no command buffer for vector_add");
  sim::inject_fault(Fault::kEncoder);
  error_text<DeviceError>([&] { device().launch(add_launch(a, a, out)); });
  device().wait();
  for (const Tensor& tensor : {a, out}) device().release(tensor.buffer);
  expect_working();
}

TEST_F(FailureTest, a_command_buffer_fails) {
  const Tensor a = make_vector(device(), 64), out = make_vector(device(), 64);
  fill(a, 0, 0);
  sim::inject_fault(Fault::kExecution,
                    "Caused GPU Timeout Error (00000002:kIOAccelCommandBufferCallbackErrorTimeout)");
  device().launch(add_launch(a, a, out));
  EXPECT_EQ(error_text<DeviceError>([&] { device().wait(); }),
            "metal: command buffer 1 (vector_add) failed: "
            "Caused GPU Timeout Error (00000002:kIOAccelCommandBufferCallbackErrorTimeout)");
  device().wait();
  for (const Tensor& tensor : {a, out}) device().release(tensor.buffer);
  expect_working();
}

TEST_F(FailureTest, the_first_of_several_errors_is_kept) {
  MetalOptions options = test_options();
  options.launches_per_command_buffer = 1;
  device_ = make_metal_device(options);
  const Tensor a = make_vector(device(), 64), out = make_vector(device(), 64);
  fill(a, 0, 0);
  sim::inject_fault(Fault::kExecution, "page fault", 1, 2);
  for (int i = 0; i < 4; ++i) device().launch(add_launch(a, a, out));
  EXPECT_EQ(error_text<DeviceError>([&] { device().wait(); }),
            "metal: command buffer 2 (vector_add) failed: page fault");
  for (const Tensor& tensor : {a, out}) device().release(tensor.buffer);
  expect_working();
}

TEST_F(FailureTest, residency_set_refused) {
  sim::inject_fault(Fault::kResidencySet);
  device_ = make_metal_device(test_options());
  expect_working();
}

TEST_F(FailureTest, a_failure_while_destroying_is_dropped) {
  const Tensor a = make_vector(device(), 64), out = make_vector(device(), 64);
  fill(a, 0, 0);
  device().launch(add_launch(a, a, out));
  sim::inject_fault(Fault::kExecution);
  device_.reset();
}

#if !defined(__SANITIZE_THREAD__) && !__has_feature(thread_sanitizer)
TEST_F(FailureTest, a_forked_child_gets_a_clear_error) {
  expect_working();
  const Tensor a = make_vector(device(), 64), out = make_vector(device(), 64);
  const pid_t child = fork();
  if (child == 0) {
    int failures = 0;
    const auto refused = [&](auto run) {
      try {
        run();
        ++failures;
      } catch (const DeviceError& error) {
        failures += std::string(error.what()).find("'spawn'") == std::string::npos;
      }
    };
    refused([&] { device().launch(add_launch(a, a, out)); });
    refused([&] { device().wait(); });
    refused([&] { device().allocate(64); });
    refused([&] { make_metal_device(test_options()); });
    failures += metal_device_available();
    for (const Tensor& tensor : {a, out}) device().release(tensor.buffer);
    _exit(failures);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  for (const Tensor& tensor : {a, out}) device().release(tensor.buffer);
  expect_working();
}
#endif

}  // namespace
}  // namespace metalhead::metal_test
