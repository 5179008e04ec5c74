// Tests of launch records: they hold what was put in, by value.
#include "core/launch.h"

#include <gtest/gtest.h>

#include <type_traits>
#include <vector>

namespace metalhead {
namespace {

struct SmallParams {
  uint64_t length;
  float scale;
};

struct LargestParams {
  std::array<uint8_t, kMaxParamsBytes> bytes;
};

TEST(LaunchTest, IsPlainData) {
  EXPECT_TRUE(std::is_trivially_copyable_v<Launch>);
  EXPECT_TRUE(std::is_trivially_destructible_v<Launch>);
}

TEST(LaunchTest, CarriesParamsByValue) {
  Launch launch;
  SmallParams params{uint64_t{1} << 40, 0.5f};
  launch.set_params(params);
  params.length = 0;
  const Launch copy = launch;
  EXPECT_EQ(copy.params_size, sizeof(SmallParams));
  EXPECT_EQ(copy.params<SmallParams>().length, uint64_t{1} << 40);
  EXPECT_EQ(copy.params<SmallParams>().scale, 0.5f);
}

TEST(LaunchTest, HoldsTheLargestParams) {
  Launch launch;
  LargestParams params{};
  params.bytes.back() = 42;
  launch.set_params(params);
  EXPECT_EQ(launch.params<LargestParams>().bytes.back(), 42);
  EXPECT_EQ(launch.params_size, kMaxParamsBytes);
}

TEST(LaunchTest, BindsTheBytesThatATensorReaches) {
  std::vector<float> memory(64);
  Tensor tensor;
  tensor.buffer = {memory.data(), 256, nullptr};
  tensor.byte_offset = 16;
  tensor.rank = 2;
  tensor.shape = {2, 3};
  tensor.strides = {10, 1};
  Launch launch;
  launch.bind(5, tensor, Access::kReadWrite);
  EXPECT_TRUE(launch.binding(5).bound());
  EXPECT_EQ(launch.binding(5).offset, 16u);
  EXPECT_EQ(launch.binding(5).length, 4u * 13);
  EXPECT_EQ(launch.binding(5).access, Access::kReadWrite);
  EXPECT_EQ(launch.data<float>(5), memory.data() + 4);
  EXPECT_FALSE(launch.binding(4).bound());
  EXPECT_EQ(launch.data<float>(4), nullptr);
}

TEST(LaunchTest, AnEmptyTensorIsNotBound) {
  float value = 0;
  Tensor tensor;
  tensor.buffer = {&value, 4, nullptr};
  tensor.rank = 1;
  Launch launch;
  launch.bind(0, tensor, Access::kRead);
  EXPECT_FALSE(launch.binding(0).bound());
  EXPECT_EQ(launch.data<float>(0), nullptr);
}

TEST(LaunchTest, CountsThreadgroupsIn64Bits) {
  EXPECT_EQ((Size3{100000, 100000, 3}.count()), uint64_t{30000000000});
  EXPECT_EQ((Size3{7, 0, 3}.count()), 0u);
  EXPECT_EQ(Size3{}.count(), 1u);
}

TEST(LaunchTest, ListsDTypesInOrder) {
  Launch launch;
  launch.add_dtype(DType::kFloat32);
  launch.add_dtype(DType::kBFloat16);
  EXPECT_EQ(launch.dtype_count, 2);
  EXPECT_EQ(launch.dtypes[1], DType::kBFloat16);
}

TEST(FunctionConstantsTest, RememberWhatIsSetAndOfWhichKind) {
  FunctionConstants constants;
  constants.set_bool(0, true);
  constants.set_bool(3, false);
  constants.set_uint(31, 128);
  EXPECT_EQ(constants.set_mask, 0x80000009u);
  EXPECT_EQ(constants.bool_mask, 0x9u);
  EXPECT_EQ(constants[0], 1u);
  EXPECT_EQ(constants[3], 0u);
  EXPECT_EQ(constants[31], 128u);
}

TEST(FunctionConstantsTest, UnsetIsNotTheSameAsZero) {
  FunctionConstants none;
  FunctionConstants zero;
  zero.set_uint(4, 0);
  EXPECT_NE(none, zero);
  FunctionConstants false_value;
  false_value.set_bool(4, false);
  EXPECT_NE(zero, false_value);
  none.set_uint(4, 0);
  EXPECT_EQ(none, zero);
}

}  // namespace
}  // namespace metalhead
