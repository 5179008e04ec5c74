// Tests of strided tensors: counts, spans, contiguity, overlap, and sizes past 32 and 64 bits.
#include "core/tensor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/error.h"
#include "thrown_text.h"

namespace metalhead {
namespace {

Tensor make_tensor(const std::vector<int64_t>& shape, DType dtype = DType::kFloat32) {
  Tensor tensor;
  tensor.dtype = dtype;
  tensor.rank = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), tensor.shape.begin());
  set_contiguous_strides(tensor);
  return tensor;
}

TEST(DTypeTest, SizesAndNames) {
  EXPECT_EQ(size_of(DType::kFloat32), 4u);
  EXPECT_EQ(size_of(DType::kFloat16), 2u);
  EXPECT_EQ(size_of(DType::kBFloat16), 2u);
  EXPECT_EQ(size_of(DType::kUInt8), 1u);
  EXPECT_EQ(size_of(DType::kInt32), 4u);
  EXPECT_EQ(size_of(DType::kBool), 1u);
  EXPECT_EQ(name_of(DType::kBFloat16), "bfloat16");
  EXPECT_TRUE(is_floating(DType::kFloat16));
  EXPECT_FALSE(is_floating(DType::kInt32));
}

TEST(TensorTest, ContiguousStridesAndSpan) {
  const Tensor tensor = make_tensor({2, 3, 4, 5}, DType::kFloat16);
  EXPECT_EQ(tensor.strides[0], 60);
  EXPECT_EQ(tensor.strides[1], 20);
  EXPECT_EQ(tensor.strides[2], 5);
  EXPECT_EQ(tensor.strides[3], 1);
  EXPECT_EQ(tensor.element_count(), 120);
  EXPECT_EQ(tensor.span_bytes(), 240u);
  EXPECT_TRUE(tensor.is_contiguous());
}

TEST(TensorTest, SpanReachesTheLastElementOnly) {
  Tensor tensor = make_tensor({2, 3});
  tensor.strides = {100, 10};
  EXPECT_EQ(tensor.span_bytes(), 4u * (100 + 20 + 1));
  EXPECT_EQ(tensor.element_count(), 6);
  EXPECT_FALSE(tensor.is_contiguous());
}

TEST(TensorTest, BroadcastAxisAddsNothingToTheSpan) {
  Tensor tensor = make_tensor({7, 4});
  tensor.strides = {0, 1};
  EXPECT_EQ(tensor.span_bytes(), 16u);
  EXPECT_FALSE(tensor.is_contiguous());
}

TEST(TensorTest, StrideOfAnAxisOfOneDoesNotMatter) {
  Tensor tensor = make_tensor({1, 3, 1, 4});
  tensor.strides = {999, 4, 77, 1};
  EXPECT_TRUE(tensor.is_contiguous());
  EXPECT_EQ(tensor.span_bytes(), 48u);
}

TEST(TensorTest, EmptyTensorHasNoBytes) {
  const Tensor tensor = make_tensor({4, 0, 8});
  EXPECT_EQ(tensor.element_count(), 0);
  EXPECT_EQ(tensor.span_bytes(), 0u);
  EXPECT_TRUE(tensor.is_contiguous());
  EXPECT_EQ(tensor.strides[0], 8);
}

TEST(TensorTest, RankZeroHoldsOneElement) {
  const Tensor tensor = make_tensor({});
  EXPECT_FALSE(tensor.defined());
  EXPECT_EQ(tensor.element_count(), 1);
  EXPECT_EQ(tensor.span_bytes(), 4u);
}

TEST(TensorTest, SizesPast32Bits) {
  const Tensor tensor = make_tensor({8, 131072, 65536}, DType::kFloat16);
  EXPECT_EQ(tensor.element_count(), int64_t{68719476736});
  EXPECT_EQ(tensor.span_bytes(), uint64_t{137438953472});
  EXPECT_EQ(tensor.strides[0], int64_t{8589934592});
}

TEST(TensorTest, SizesPast63BitsThrow) {
  const int64_t large = int64_t{1} << 32;
  EXPECT_THROW(make_tensor({2, large, large}), ValueError);
  Tensor tensor;
  tensor.rank = 2;
  tensor.shape = {large, large};
  EXPECT_EQ(test::thrown_text<ValueError>([&] { return tensor.element_count(); }),
            "tensor: sizes must fit in 63 bits, got shape (4294967296, 4294967296) of float32");
  tensor.strides = {large, 1};
  EXPECT_THROW(tensor.span_bytes(), ValueError);
  // The elements fit, their bytes do not.
  tensor.shape = {int64_t{1} << 31, int64_t{1} << 31};
  tensor.strides = {int64_t{1} << 31, 1};
  EXPECT_EQ(tensor.element_count(), int64_t{1} << 62);
  EXPECT_THROW(tensor.span_bytes(), ValueError);
  // An empty tensor of otherwise impossible shape is just empty.
  tensor.rank = 3;
  tensor.shape = {large, large, 0};
  EXPECT_EQ(tensor.element_count(), 0);
  EXPECT_EQ(tensor.span_bytes(), 0u);
}

TEST(TensorTest, DataIsOffsetFromContents) {
  std::vector<float> memory(16);
  Tensor tensor = make_tensor({4});
  tensor.buffer = {memory.data(), 64, nullptr};
  tensor.byte_offset = 8;
  EXPECT_EQ(tensor.data_as<float>(), memory.data() + 2);
}

TEST(OverlapTest, RangesAreHalfOpen) {
  std::vector<std::byte> memory(256);
  Tensor a = make_tensor({4});
  Tensor b = make_tensor({4});
  a.buffer = b.buffer = {memory.data(), memory.size(), nullptr};
  for (const auto& [offset, expected] :
       {std::pair{0u, true}, {12u, true}, {15u, true}, {16u, false}, {64u, false}}) {
    b.byte_offset = offset;
    EXPECT_EQ(overlaps(a, b), expected) << offset;
    EXPECT_EQ(overlaps(b, a), expected) << offset;
  }
}

TEST(OverlapTest, TwoBuffersOfOneMemoryOverlap) {
  std::vector<std::byte> memory(256);
  Tensor a = make_tensor({8});
  Tensor b = make_tensor({8});
  a.buffer = {memory.data(), 64, nullptr};
  b.buffer = {memory.data() + 16, 64, nullptr};
  EXPECT_TRUE(overlaps(a, b));
  b.buffer.contents = memory.data() + 32;
  EXPECT_FALSE(overlaps(a, b));
}

TEST(OverlapTest, EmptyTensorsOverlapNothing) {
  std::vector<std::byte> memory(256);
  Tensor a = make_tensor({16});
  Tensor b = make_tensor({0, 3});
  a.buffer = b.buffer = {memory.data(), memory.size(), nullptr};
  b.byte_offset = 8;
  EXPECT_FALSE(overlaps(a, b));
  EXPECT_FALSE(overlaps(b, a));
  EXPECT_FALSE(overlaps(b, b));
}

TEST(OverlapTest, WithoutContentsHandlesDecide) {
  int first = 0;
  int second = 0;
  Tensor a = make_tensor({4});
  Tensor b = make_tensor({4});
  a.buffer = {nullptr, 64, &first};
  b.buffer = {nullptr, 64, &first};
  EXPECT_TRUE(overlaps(a, b));
  b.byte_offset = 16;
  EXPECT_FALSE(overlaps(a, b));
  b = a;
  b.buffer.handle = &second;
  EXPECT_FALSE(overlaps(a, b));
}

TEST(ShapeTextTest, LooksLikePython) {
  EXPECT_EQ(shape_text(make_tensor({2, 8, 1, 128})), "(2, 8, 1, 128)");
  EXPECT_EQ(shape_text(make_tensor({5})), "(5,)");
  EXPECT_EQ(shape_text(make_tensor({})), "()");
}

}  // namespace
}  // namespace metalhead
