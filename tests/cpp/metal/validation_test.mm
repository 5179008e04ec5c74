// Misuse of the Metal API that the look-alike must report, one test a rule.
#include "api_fixture.h"

namespace metalhead::metal_test {
namespace {

using sim::MisuseRecorder;
using ValidationTest = ApiTest;

TEST_F(ValidationTest, a_correct_command_buffer_is_not_reported) {
  MisuseRecorder recorder;
  @autoreleasepool {
    id<MTLCommandBuffer> command_buffer = [queue_ commandBuffer];
    id<MTLComputeCommandEncoder> encoder =
        [command_buffer computeCommandEncoderWithDispatchType:MTLDispatchTypeSerial];
    for (int i = 0; i < 64; ++i) values(0)[i] = values(1)[i] = static_cast<float>(i);
    add(encoder, 0, 1, 2);
    add(encoder, 2, 1, 3);
    [encoder endEncoding];
    [command_buffer commit];
    [command_buffer waitUntilCompleted];
    EXPECT_EQ(command_buffer.status, MTLCommandBufferStatusCompleted);
    EXPECT_GT(command_buffer.GPUEndTime, command_buffer.GPUStartTime);
    EXPECT_EQ(values(3)[10], 30.0f);
  }
  EXPECT_EQ(recorder.texts().size(), 0u);
}

TEST_F(ValidationTest, double_commit) {
  MisuseRecorder recorder;
  @autoreleasepool {
    id<MTLCommandBuffer> command_buffer = [queue_ commandBuffer];
    [command_buffer commit];
    [command_buffer commit];
    [command_buffer waitUntilCompleted];
  }
  EXPECT_TRUE(recorder.saw("committed already"));
}

TEST_F(ValidationTest, handler_after_commit_and_wait_before_it) {
  MisuseRecorder recorder;
  @autoreleasepool {
    id<MTLCommandBuffer> command_buffer = [queue_ commandBuffer];
    [command_buffer waitUntilCompleted];
    EXPECT_TRUE(recorder.saw("waitUntilCompleted: the command buffer is not committed"));
    [command_buffer commit];
    [command_buffer addCompletedHandler:^(id<MTLCommandBuffer>){
    }];
    EXPECT_TRUE(recorder.saw("addCompletedHandler: the command buffer is committed"));
    EXPECT_EQ([command_buffer computeCommandEncoderWithDispatchType:MTLDispatchTypeSerial], nil);
    EXPECT_TRUE(recorder.saw("computeCommandEncoder: the command buffer is committed"));
    [command_buffer waitUntilCompleted];
  }
}

TEST_F(ValidationTest, leaked_encoder_and_commit_while_open) {
  MisuseRecorder recorder;
  @autoreleasepool {
    id<MTLCommandBuffer> command_buffer = [queue_ commandBuffer];
    @autoreleasepool {
      id<MTLComputeCommandEncoder> encoder =
          [command_buffer computeCommandEncoderWithDispatchType:MTLDispatchTypeSerial];
      EXPECT_NE(encoder, nil);
      EXPECT_EQ([command_buffer computeCommandEncoderWithDispatchType:MTLDispatchTypeSerial], nil);
      [command_buffer commit];
    }
  }
  EXPECT_TRUE(recorder.saw("is still open"));
  EXPECT_TRUE(recorder.saw("commit: an encoder of this command buffer is still open"));
  EXPECT_TRUE(recorder.saw("released before endEncoding"));
}

/// A test with an open encoder that has ended and is committed at the end.
class EncoderTest : public ApiTest {
 protected:
  template <class Encode>
  void encode(MTLDispatchType type, Encode encode_commands) {
    @autoreleasepool {
      id<MTLCommandBuffer> command_buffer = [queue_ commandBuffer];
      id<MTLComputeCommandEncoder> encoder = [command_buffer computeCommandEncoderWithDispatchType:type];
      encode_commands(encoder);
      [encoder endEncoding];
      [command_buffer commit];
      [command_buffer waitUntilCompleted];
      error_ = sim::text_of(command_buffer.error.localizedDescription);
    }
  }
  MisuseRecorder recorder_;
  std::string error_;
};

TEST_F(EncoderTest, use_after_end) {
  encode(MTLDispatchTypeSerial, [&](id<MTLComputeCommandEncoder> encoder) {
    [encoder endEncoding];
    [encoder setBuffer:buffers_[0] offset:0 atIndex:0];
  });
  EXPECT_TRUE(recorder_.saw("setBuffer: the encoder has ended"));
  EXPECT_TRUE(recorder_.saw("endEncoding: the encoder has ended"));
}

TEST_F(EncoderTest, set_bytes_limits) {
  std::vector<char> bytes(5000);
  encode(MTLDispatchTypeSerial, [&](id<MTLComputeCommandEncoder> encoder) {
    [encoder setBytes:bytes.data() length:4096 atIndex:30];
    EXPECT_EQ(recorder_.texts().size(), 0u);
    [encoder setBytes:bytes.data() length:4097 atIndex:30];
    EXPECT_TRUE(recorder_.saw("setBytes: length 4097"));
    [encoder setBytes:bytes.data() length:4 atIndex:31];
    EXPECT_TRUE(recorder_.saw("setBytes: index 31"));
  });
}

TEST_F(EncoderTest, threadgroup_memory_limits) {
  encode(MTLDispatchTypeSerial, [&](id<MTLComputeCommandEncoder> encoder) {
    [encoder setThreadgroupMemoryLength:24 atIndex:0];
    EXPECT_TRUE(recorder_.saw("must be a multiple of 16"));
    [encoder setThreadgroupMemoryLength:32784 atIndex:0];
    EXPECT_TRUE(recorder_.saw("length 32784 must be at most 32768"));
    [encoder setComputePipelineState:pipeline("group_sum")];
    [encoder setBuffer:buffers_[0] offset:0 atIndex:0];
    [encoder setBuffer:buffers_[1] offset:0 atIndex:1];
    [encoder dispatchThreadgroups:MTLSizeMake(1, 1, 1) threadsPerThreadgroup:MTLSizeMake(64, 1, 1)];
    EXPECT_TRUE(recorder_.saw("group_sum: threadgroup argument 0 has no length"));
    [encoder setThreadgroupMemoryLength:32768 atIndex:0];
    [encoder setThreadgroupMemoryLength:16 atIndex:1];
    [encoder dispatchThreadgroups:MTLSizeMake(1, 1, 1) threadsPerThreadgroup:MTLSizeMake(64, 1, 1)];
    EXPECT_TRUE(recorder_.saw("group_sum: 32784 bytes of threadgroup memory"));
  });
}

TEST_F(EncoderTest, buffer_offsets) {
  encode(MTLDispatchTypeSerial, [&](id<MTLComputeCommandEncoder> encoder) {
    [encoder setBuffer:buffers_[0] offset:1024 atIndex:0];
    EXPECT_TRUE(recorder_.saw("setBuffer: offset 1024 must be below the buffer's length 1024"));
    const VectorParams params{1, 1};
    [encoder setComputePipelineState:pipeline("vector_add_float32")];
    [encoder setBuffer:buffers_[0] offset:6 atIndex:0];
    [encoder setBuffer:buffers_[1] offset:0 atIndex:1];
    [encoder setBuffer:buffers_[2] offset:0 atIndex:2];
    [encoder setBytes:&params length:sizeof params atIndex:30];
    [encoder dispatchThreadgroups:MTLSizeMake(1, 1, 1) threadsPerThreadgroup:MTLSizeMake(1, 1, 1)];
    EXPECT_TRUE(recorder_.saw("offset 6 must be a multiple of 4"));
  });
}

TEST_F(EncoderTest, missing_and_unsuitable_bindings) {
  encode(MTLDispatchTypeSerial, [&](id<MTLComputeCommandEncoder> encoder) {
    const MTLSize one = MTLSizeMake(1, 1, 1);
    [encoder dispatchThreadgroups:one threadsPerThreadgroup:one];
    EXPECT_TRUE(recorder_.saw("no pipeline is set"));
    [encoder setComputePipelineState:pipeline("vector_add_float32")];
    [encoder setBuffer:buffers_[0] offset:0 atIndex:0];
    [encoder setBuffer:buffers_[1] offset:0 atIndex:1];
    [encoder dispatchThreadgroups:one threadsPerThreadgroup:one];
    EXPECT_TRUE(recorder_.saw("vector_add_float32: out at buffer index 2: nothing is bound"));
    const VectorParams params{1, 1};
    [encoder setBytes:&params length:sizeof params atIndex:2];
    [encoder dispatchThreadgroups:one threadsPerThreadgroup:one];
    EXPECT_TRUE(recorder_.saw("bytes are bound where the kernel may write"));
    [encoder setBuffer:buffers_[2] offset:0 atIndex:2];
    [encoder setBytes:&params length:4 atIndex:30];
    [encoder dispatchThreadgroups:one threadsPerThreadgroup:one];
    EXPECT_TRUE(recorder_.saw("params at buffer index 30: has 4 bytes, one element takes 8"));
  });
}

TEST_F(EncoderTest, grid_limits) {
  encode(MTLDispatchTypeSerial, [&](id<MTLComputeCommandEncoder> encoder) {
    [encoder setComputePipelineState:pipeline("vector_add_float32")];
    [encoder dispatchThreadgroups:MTLSizeMake(1, 1, 1) threadsPerThreadgroup:MTLSizeMake(1024, 2, 1)];
    EXPECT_TRUE(recorder_.saw("2048 threads per threadgroup, must be from 1 to 1024"));
    [encoder dispatchThreadgroups:MTLSizeMake(0, 1, 1) threadsPerThreadgroup:MTLSizeMake(64, 1, 1)];
    EXPECT_TRUE(recorder_.saw("the grid has no threadgroups"));
  });
}

TEST_F(EncoderTest, a_kernel_that_leaves_its_buffer_ends_in_an_error) {
#ifdef METALHEAD_SIM_INSTRUMENTED
  encode(MTLDispatchTypeSerial, [&](id<MTLComputeCommandEncoder> encoder) {
    const VectorParams params{256, 1};
    [encoder setComputePipelineState:pipeline("writes_too_far")];
    [encoder setBuffer:buffers_[0] offset:0 atIndex:0];
    [encoder setBytes:&params length:sizeof params atIndex:30];
    [encoder dispatchThreadgroups:MTLSizeMake(1, 1, 1) threadsPerThreadgroup:MTLSizeMake(1, 1, 1)];
  });
  EXPECT_NE(error_.find("out"), std::string::npos) << error_;
  EXPECT_NE(error_.find("test_kernels.metal"), std::string::npos) << error_;
#else
  GTEST_SKIP() << "needs METALHEAD_SIM_INSTRUMENTED";
#endif
}

TEST_F(ValidationTest, buffers_and_wrapping) {
  MisuseRecorder recorder;
  @autoreleasepool {
    EXPECT_EQ([device_ newBufferWithLength:0 options:kUntracked], nil);
    EXPECT_TRUE(recorder.saw("newBufferWithLength: length 0"));
    void* memory = std::aligned_alloc(16384, 32768);
    EXPECT_EQ([device_ newBufferWithBytesNoCopy:static_cast<char*>(memory) + 64
                                         length:16384
                                        options:kUntracked
                                    deallocator:nil],
              nil);
    EXPECT_TRUE(recorder.saw("pointer must be page-aligned"));
    EXPECT_EQ([device_ newBufferWithBytesNoCopy:memory length:1000 options:kUntracked deallocator:nil], nil);
    EXPECT_TRUE(recorder.saw("length 1000 must be a multiple of the page size"));
    __block NSUInteger freed = 0;
    @autoreleasepool {
      id<MTLBuffer> wrapped = [device_ newBufferWithBytesNoCopy:memory
                                                         length:16384
                                                        options:kUntracked
                                                    deallocator:^(void* pointer, NSUInteger length) {
                                                      std::free(pointer);
                                                      freed = length;
                                                    }];
      EXPECT_EQ(wrapped.contents, memory);
    }
    EXPECT_EQ(freed, 16384u);
  }
}

TEST_F(ValidationTest, a_function_with_constants_needs_their_values) {
  MisuseRecorder recorder;
  @autoreleasepool {
    EXPECT_EQ(pipeline("repeated"), nil);
    EXPECT_TRUE(recorder.saw("function repeated needs function constant values"));
    MTLFunctionConstantValues* values = [MTLFunctionConstantValues new];
    const float wrong = 1;
    const bool truth = true;
    [values setConstantValue:&wrong type:MTLDataTypeFloat atIndex:0];
    [values setConstantValue:&truth type:MTLDataTypeBool atIndex:3];
    NSError* error = nil;
    EXPECT_EQ([library_ newFunctionWithName:@"repeated" constantValues:values error:&error], nil);
    EXPECT_EQ(sim::text_of(error.localizedDescription),
              "repeated: function constant kRepeat is uint, got float");
  }
}

TEST_F(ValidationTest, a_queue_has_64_command_buffers) {
  MisuseRecorder recorder;
  @autoreleasepool {
    std::vector<id<MTLCommandBuffer>> held;
    for (int i = 0; i < 64; ++i) held.push_back([queue_ commandBuffer]);
    EXPECT_EQ([queue_ commandBuffer], nil);
    EXPECT_TRUE(recorder.saw("64 command buffers"));
  }
}

TEST_F(ValidationTest, source_libraries_hold_the_kernels_of_their_file) {
  @autoreleasepool {
    NSError* error = nil;
    EXPECT_EQ([device_ newLibraryWithSource:@"#include \"missing.h\"\n" options:nil error:&error], nil);
    EXPECT_NE(sim::text_of(error.localizedDescription).find("quoted include"), std::string::npos);
    id<MTLLibrary> library = [device_ newLibraryWithSource:@"#line 1 \"test_kernels.metal\"\n"
                                                   options:nil
                                                     error:&error];
    EXPECT_NE([library newFunctionWithName:@"group_sum"], nil);
    library = [device_ newLibraryWithSource:@"#line 1 \"other.metal\"\n" options:nil error:&error];
    EXPECT_EQ([library newFunctionWithName:@"group_sum"], nil);
  }
}

using ValidationDeathTest = ApiTest;

TEST_F(ValidationDeathTest, misuse_aborts_unless_recorded) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(sim::report_misuse("a rule was broken"), "metal validation: a rule was broken");
}

TEST_F(ValidationDeathTest, over_release_aborts) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        void* object = const_cast<void*>((__bridge_retained const void*)[NSObject new]);
        void* keep = (__bridge void*)(__bridge_transfer id)object;
        (void)keep;
        id twice = (__bridge_transfer id)object;
        EXPECT_NE(twice, nil);
      },
      "gone|heap-use-after-free");
}

}  // namespace
}  // namespace metalhead::metal_test
