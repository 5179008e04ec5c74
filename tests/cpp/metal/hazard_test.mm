// Commands that conflict without anything between them are reported; ordered ones are not.
#include "api_fixture.h"

namespace metalhead::metal_test {
namespace {

using sim::MisuseRecorder;

/// Each test encodes two additions that share buffer 2: the first writes it, the second reads it.
class HazardTest : public ApiTest {
 protected:
  void SetUp() override {
    ApiTest::SetUp();
#ifndef METALHEAD_SIM_INSTRUMENTED
    GTEST_SKIP() << "needs METALHEAD_SIM_INSTRUMENTED: plain kernels do not tell what they touch";
#endif
    for (int buffer = 0; buffer < 4; ++buffer) {
      for (int i = 0; i < 64; ++i) values(buffer)[i] = static_cast<float>(i);
    }
  }

  id<MTLComputeCommandEncoder> open(id<MTLCommandBuffer> command_buffer, MTLDispatchType type) {
    return [command_buffer computeCommandEncoderWithDispatchType:type];
  }

  static constexpr const char* kProblem = "commands are not ordered: vector_add_float32";
};

TEST_F(HazardTest, a_missing_barrier_is_reported) {
  MisuseRecorder recorder;
  @autoreleasepool {
    id<MTLCommandBuffer> command_buffer = [queue_ commandBuffer];
    id<MTLComputeCommandEncoder> encoder = open(command_buffer, MTLDispatchTypeConcurrent);
    add(encoder, 0, 1, 2);
    add(encoder, 2, 1, 3);
    [encoder endEncoding];
    [command_buffer commit];
    [command_buffer waitUntilCompleted];
  }
  EXPECT_TRUE(recorder.saw(kProblem));
  EXPECT_TRUE(recorder.saw("256 bytes"));
}

TEST_F(HazardTest, a_barrier_or_a_serial_encoder_orders) {
  MisuseRecorder recorder;
  for (const MTLDispatchType type : {MTLDispatchTypeConcurrent, MTLDispatchTypeSerial}) {
    @autoreleasepool {
      id<MTLCommandBuffer> command_buffer = [queue_ commandBuffer];
      id<MTLComputeCommandEncoder> encoder = open(command_buffer, type);
      add(encoder, 0, 1, 2);
      if (type == MTLDispatchTypeConcurrent) [encoder memoryBarrierWithScope:MTLBarrierScopeBuffers];
      add(encoder, 2, 1, 3);
      [encoder endEncoding];
      [command_buffer commit];
      [command_buffer waitUntilCompleted];
    }
  }
  EXPECT_EQ(recorder.texts(), std::vector<std::string>());
  EXPECT_EQ(values(3)[5], 15.0f);
}

TEST_F(HazardTest, reads_of_the_same_bytes_need_no_order) {
  MisuseRecorder recorder;
  @autoreleasepool {
    id<MTLCommandBuffer> command_buffer = [queue_ commandBuffer];
    id<MTLComputeCommandEncoder> encoder = open(command_buffer, MTLDispatchTypeConcurrent);
    add(encoder, 0, 1, 2);
    add(encoder, 0, 1, 3);
    [encoder endEncoding];
    [command_buffer commit];
    [command_buffer waitUntilCompleted];
  }
  EXPECT_EQ(recorder.texts(), std::vector<std::string>());
}

/// Two command buffers, committed without a wait between them.
class FenceTest : public HazardTest {
 protected:
  void run(id<MTLFence> updated, id<MTLFence> awaited, bool wait_between) {
    @autoreleasepool {
      id<MTLCommandBuffer> first = [queue_ commandBuffer], second = [queue_ commandBuffer];
      id<MTLComputeCommandEncoder> encoder = open(first, MTLDispatchTypeConcurrent);
      add(encoder, 0, 1, 2);
      if (updated != nil) [encoder updateFence:updated];
      [encoder endEncoding];
      [first commit];
      if (wait_between) [first waitUntilCompleted];
      encoder = open(second, MTLDispatchTypeConcurrent);
      if (awaited != nil) [encoder waitForFence:awaited];
      add(encoder, 2, 1, 3);
      [encoder endEncoding];
      [second commit];
      [second waitUntilCompleted];
    }
  }
};

TEST_F(FenceTest, untracked_buffers_are_not_ordered_between_encoders) {
  MisuseRecorder recorder;
  run(nil, nil, false);
  EXPECT_TRUE(recorder.saw(kProblem));
}

TEST_F(FenceTest, a_fence_orders_encoders) {
  MisuseRecorder recorder;
  @autoreleasepool {
    id<MTLFence> fence = [device_ newFence];
    run(fence, fence, false);
  }
  EXPECT_EQ(recorder.texts(), std::vector<std::string>());
}

TEST_F(FenceTest, another_fence_does_not) {
  MisuseRecorder recorder;
  @autoreleasepool {
    run([device_ newFence], [device_ newFence], false);
  }
  EXPECT_TRUE(recorder.saw(kProblem));
}

TEST_F(FenceTest, a_wait_of_the_host_orders) {
  MisuseRecorder recorder;
  run(nil, nil, true);
  EXPECT_EQ(recorder.texts(), std::vector<std::string>());
}

TEST(SharedHazardTest, waiting_for_a_fence_after_updating_it_is_reported) {
  MisuseRecorder recorder;
  @autoreleasepool {
    id<MTLDevice> device = MTLCreateSystemDefaultDevice();
    id<MTLCommandBuffer> command_buffer = [[device newCommandQueue] commandBuffer];
    id<MTLComputeCommandEncoder> encoder =
        [command_buffer computeCommandEncoderWithDispatchType:MTLDispatchTypeSerial];
    id<MTLFence> fence = [device newFence];
    [encoder updateFence:fence];
    [encoder waitForFence:fence];
    [encoder endEncoding];
  }
  EXPECT_TRUE(recorder.saw("has updated the fence already"));
  EXPECT_EQ(leak_report(), "");
}

using BackendHazardTest = MetalTest;

TEST_F(BackendHazardTest, the_trackers_barriers_are_enough) {
  MisuseRecorder recorder;
  Tensor values = make_vector(device(), 100), other = make_vector(device(), 100),
         one = make_vector(device(), 100);
  fill(values, 0, 1);
  fill(one, 1, 0);
  for (int i = 0; i < 120; ++i) {
    device().launch(add_launch(values, one, other));
    std::swap(values, other);
  }
  device().wait();
  EXPECT_EQ(recorder.texts(), std::vector<std::string>());
  EXPECT_EQ(values.data_as<float>()[7], 127.0f);
  for (const Tensor& tensor : {values, other, one}) device().release(tensor.buffer);
}

TEST_F(BackendHazardTest, a_launch_that_hides_a_write_is_caught) {
#ifndef METALHEAD_SIM_INSTRUMENTED
  GTEST_SKIP() << "needs METALHEAD_SIM_INSTRUMENTED: plain kernels do not tell what they touch";
#endif
  MisuseRecorder recorder;
  const Tensor a = make_vector(device(), 64), b = make_vector(device(), 64), out = make_vector(device(), 64);
  fill(a, 0, 1);
  fill(b, 0, 1);
  fill(out, 0, 1);
  // Declared as a read, so the tracker sees no conflict and sets no barrier.
  device().launch(add_launch(a, b, out, 1, Access::kRead));
  device().launch(add_launch(out, b, a, 1, Access::kRead));
  device().wait();
  EXPECT_TRUE(recorder.saw("commands are not ordered"));
  for (const Tensor& tensor : {a, b, out}) device().release(tensor.buffer);
}

#if __has_feature(thread_sanitizer)
void read_without_waiting() {
  MetalOptions options = test_options();
  options.launches_per_command_buffer = 1;
  const std::unique_ptr<Device> device = make_metal_device(options);
  const Tensor a = make_vector(*device, 64), out = make_vector(*device, 64);
  fill(a, 1, 0);
  fill(out, 0, 0);
  sim::set_execution_delay(200);
  device->launch(add_launch(a, a, out));
  // Time passes without any synchronisation: the device has written when this reads.
  std::this_thread::sleep_for(std::chrono::milliseconds(600));
  std::fprintf(stderr, "%f\n", static_cast<double>(out.data_as<float>()[3]));
  device->wait();
  std::exit(0);
}

TEST(HostRaceDeathTest, reading_a_result_without_waiting_shows_under_the_thread_sanitizer) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(read_without_waiting(), "data race");
}
#endif

}  // namespace
}  // namespace metalhead::metal_test
