// The Metal device as an op sees it: launches, waiting, memory, limits, threads.
#include <atomic>

#include "metal_fixture.h"

namespace metalhead::metal_test {
namespace {

using DeviceTest = MetalTest;

std::string info_value(const Device& device, const std::string& name) {
  for (const auto& [key, value] : device.info()) {
    if (key == name) return value;
  }
  return "<absent>";
}

TEST_F(DeviceTest, runs_a_launch) { expect_working(); }

TEST_F(DeviceTest, tells_its_limits) {
  EXPECT_EQ(device().name(), "metal");
  EXPECT_EQ(device().limits().lanes, 32u);
  EXPECT_EQ(device().limits().threadgroup_memory, 32768u);
  EXPECT_EQ(device().limits().max_threads_per_threadgroup, 1024u);
  EXPECT_FALSE(device().reads_host_memory());
  EXPECT_NE(info_value(device(), "simulated"), "<absent>");
  EXPECT_EQ(info_value(device(), "shaders"), std::string("metallib ") + METALHEAD_TEST_LIBRARY);
}

TEST_F(DeviceTest, chains_of_launches_keep_their_order) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    sim::set_schedule_seed(seed);
    Tensor values = make_vector(device(), 200), other = make_vector(device(), 200),
           one = make_vector(device(), 200);
    fill(values, 0, 1);
    fill(one, 1, 0);
    // 130 launches cross two command buffers, so fences are needed as well as barriers.
    for (int i = 0; i < 130; ++i) {
      device().launch(add_launch(values, one, other));
      std::swap(values, other);
    }
    device().wait();
    for (int i = 0; i < 200; ++i)
      ASSERT_EQ(values.data_as<float>()[i], 130 + static_cast<float>(i)) << "seed " << seed;
    for (const Tensor& tensor : {values, other, one}) device().release(tensor.buffer);
  }
}

TEST_F(DeviceTest, independent_launches_share_an_encoder_without_barriers) {
  const uint64_t before = sim::execution_counts().barriers;
  std::vector<Tensor> outs;
  const Tensor a = make_vector(device(), 64);
  fill(a, 1, 0);
  for (int i = 0; i < 8; ++i) outs.push_back(make_vector(device(), 64));
  for (const Tensor& out : outs) device().launch(add_launch(a, a, out));
  device().wait();
  EXPECT_EQ(sim::execution_counts().barriers, before);
  EXPECT_EQ(info_value(device(), "command buffers"), "1");
  for (const Tensor& out : outs) device().release(out.buffer);
  device().release(a.buffer);
}

TEST_F(DeviceTest, commits_by_count_and_by_bytes) {
  MetalOptions options = test_options();
  options.launches_per_command_buffer = 4;
  options.bytes_per_command_buffer = 1000;
  device_ = make_metal_device(options);
  const Tensor small = make_vector(device(), 4), large = make_vector(device(), 300),
               out = make_vector(device(), 4);
  fill(small, 0, 0);
  fill(large, 0, 0);
  for (int i = 0; i < 8; ++i) device().launch(add_launch(small, small, out));
  device().wait();
  EXPECT_EQ(info_value(device(), "command buffers"), "2");
  for (int i = 0; i < 3; ++i) device().launch(add_launch(large, large, out));
  device().wait();
  EXPECT_EQ(info_value(device(), "command buffers"), "5");
  for (const Tensor& tensor : {small, large, out}) device().release(tensor.buffer);
}

TEST_F(DeviceTest, uses_threadgroup_memory) {
  const Tensor a = make_vector(device(), 256), out = make_vector(device(), 4);
  fill(a, 0, 1);
  Launch launch;
  launch.kernel = "group_sum";
  launch.bind(0, a, Access::kRead);
  launch.bind(1, out, Access::kWrite);
  launch.grid = {4, 1, 1};
  launch.threads = {64, 1, 1};
  launch.threadgroup_bytes = 64 * sizeof(float);
  device().launch(launch);
  device().wait();
  for (int group = 0; group < 4; ++group) {
    EXPECT_EQ(out.data_as<float>()[group], 2016 + 4096 * static_cast<float>(group));
  }
  launch.threadgroup_bytes = 40000;
  EXPECT_EQ(error_text<KernelError>([&] { device().launch(launch); }),
            "metal: group_sum may use at most 32768 bytes of threadgroup memory, got 40000");
  device().release(a.buffer);
  device().release(out.buffer);
}

TEST_F(DeviceTest, a_released_buffer_is_not_reused_while_its_command_runs) {
  const Tensor a = make_vector(device(), 1000), b = make_vector(device(), 1000);
  Tensor out = make_vector(device(), 1000);
  fill(a, 0, 1);
  fill(b, 0, 1);
  device().launch(add_launch(a, b, out));
  device().release(out.buffer);
  const Tensor next = make_vector(device(), 1000);
  EXPECT_NE(next.buffer.contents, out.buffer.contents) << "the launch has not even been committed";
  device().wait();
  const Tensor reused = make_vector(device(), 1000);
  EXPECT_EQ(reused.buffer.contents, out.buffer.contents);
  for (const Tensor& tensor : {a, b, next, reused}) device().release(tensor.buffer);
  EXPECT_EQ(device().pool_statistics().bytes_in_use, 0u);
  device().trim_pool();
  EXPECT_EQ(device().pool_statistics().bytes_cached, 0u);
}

TEST_F(DeviceTest, wraps_page_aligned_memory_without_a_copy) {
  constexpr uint64_t kBytes = 32768;
  void* memory = std::aligned_alloc(16384, kBytes);
  const Buffer wrapped = device().wrap(memory, kBytes);
  ASSERT_EQ(wrapped.contents, memory);
  ASSERT_NE(wrapped.handle, nullptr);
  Tensor a;
  a.buffer = wrapped;
  a.rank = 1;
  a.shape[0] = kBytes / sizeof(float);
  a.strides[0] = 1;
  fill(a, 0, 1);
  const Tensor out = make_vector(device(), a.shape[0]);
  device().launch(add_launch(a, a, out));
  device().release(wrapped);
  device().wait();
  EXPECT_EQ(out.data_as<float>()[8191], 2 * 8191.0f);
  device().release(out.buffer);
  EXPECT_EQ(device().wrap(static_cast<char*>(memory) + 16, 16384).handle, nullptr);
  EXPECT_EQ(device().wrap(memory, 16384 + 4).handle, nullptr);
  EXPECT_EQ(device().wrap(memory, 16384 + 4).contents, nullptr);
  device_.reset();
  std::free(memory);
}

TEST_F(DeviceTest, refuses_host_memory) {
  std::vector<float> memory(64);
  Tensor a;
  a.buffer = {memory.data(), 256, nullptr};
  a.rank = 1;
  a.shape[0] = 64;
  a.strides[0] = 1;
  EXPECT_EQ(error_text<DeviceError>([&] { device().launch(add_launch(a, a, a)); }),
            "metal: vector_add needs buffers of this device, got host memory");
}

TEST_F(DeviceTest, threads_may_launch_and_wait_together) {
  std::atomic<int> failures{0};
  const auto work = [&](float first) {
    for (int round = 0; round < 20; ++round) {
      const Tensor a = make_vector(device(), 64), twice = make_vector(device(), 64),
                   out = make_vector(device(), 64);
      fill(a, first, 1);
      device().launch(add_launch(a, a, twice));
      device().launch(add_launch(twice, a, out));
      device().wait();
      for (int i = 0; i < 64; ++i) failures += out.data_as<float>()[i] != 3 * (first + static_cast<float>(i));
      for (const Tensor& tensor : {a, twice, out}) device().release(tensor.buffer);
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) threads.emplace_back(work, static_cast<float>(100 * t));
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures.load(), 0);
}

TEST_F(DeviceTest, more_command_buffers_than_a_queue_allows) {
  MetalOptions options = test_options();
  options.launches_per_command_buffer = 1;
  device_ = make_metal_device(options);
  const Tensor a = make_vector(device(), 64), out = make_vector(device(), 64);
  fill(a, 0, 0);
  for (int i = 0; i < 200; ++i) device().launch(add_launch(a, a, out));
  device().wait();
  EXPECT_EQ(info_value(device(), "command buffers"), "200");
  for (const Tensor& tensor : {a, out}) device().release(tensor.buffer);
}

TEST_F(DeviceTest, destruction_waits_for_open_work) {
  const Tensor a = make_vector(device(), 64), out = make_vector(device(), 64);
  fill(a, 1, 0);
  for (int i = 0; i < 60; ++i) device().launch(add_launch(a, a, out));
  device_.reset();
}

}  // namespace
}  // namespace metalhead::metal_test
