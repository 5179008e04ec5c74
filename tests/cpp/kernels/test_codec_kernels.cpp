// The codec's kernels where Python cannot look: rounding steps, flushed denormals, and the edges of buffers.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "devices/cpu/kernel_table.h"
#include "guarded_array.h"
#include "metal/common/codec_rule.h"
#include "metal/params/codec_params.h"
#include "metal/params/function_constants.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace metalhead::test {
namespace {

float neighbour(float x, int ulps) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(x) + static_cast<uint32_t>(ulps));
}

TEST(CodecRule, SquareRootIsCorrectFromAnyCloseEstimate) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> exponent(-90.0f, 90.0f);
  for (int i = 0; i < 200000; ++i) {
    const float x = std::exp2(exponent(random));
    for (int ulps = -1; ulps <= 1; ++ulps) {
      ASSERT_EQ(rounded_sqrt(x, neighbour(std::sqrt(x), ulps)), std::sqrt(x))
          << x << " from " << ulps << " ulp off";
    }
  }
}

TEST(CodecRule, QuotientIsCorrectFromAnyCloseEstimate) {
  std::mt19937 random(2);
  std::uniform_real_distribution<float> exponent(-40.0f, 40.0f);
  for (int i = 0; i < 200000; ++i) {
    const float a = std::exp2(exponent(random)), b = std::exp2(exponent(random));
    for (int ulps = -1; ulps <= 1; ++ulps) {
      ASSERT_EQ(rounded_quotient(a, b, neighbour(a / b, ulps)), a / b)
          << a << " / " << b << " from " << ulps << " ulp off";
    }
  }
}

TEST(CodecRule, ScalingByPowersRoundsOnce) {
  std::mt19937 random(3);
  std::uniform_int_distribution<uint32_t> mantissa(0, 0x7fffff);
  for (int exponent = -300; exponent <= 300; ++exponent) {
    for (int i = 0; i < 200; ++i) {
      const float x = std::bit_cast<float>(127u << 23 | mantissa(random));
      ASSERT_EQ(scale_by_power(x, exponent), static_cast<float>(std::ldexp(static_cast<double>(x), exponent)))
          << x << " * 2^" << exponent;
    }
  }
  // Halfway between two denormals: to the even one.
  EXPECT_EQ(scale_by_power(1.5f, -149), 0x1p-148f);
  EXPECT_EQ(scale_by_power(1.0f, -150), 0.0f);
  EXPECT_EQ(scale_by_power(neighbour(1.0f, 1), -150), 0x1p-149f);
}

TEST(CodecRule, TinyNumbersAreLiftedExactly) {
  for (uint32_t bits :
       {0u, 1u, 2u, 0x7fffffu, 0x800000u, 0x800001u, 0x00345678u, 0x1f7fffffu, 0x80000001u, 0x80345678u}) {
    const float x = std::bit_cast<float>(bits);
    EXPECT_EQ(lift_tiny(x), std::ldexp(x, METALHEAD_TINY_SHIFT)) << bits;
  }
}

/// One encoding of `rows` vectors whose arrays end at unreadable pages.
struct CodecCase {
  int bits, dim, rows;
  GuardedArray input, codes, norms, output, status;

  CodecCase(int bits_, int dim_, int rows_, DType norm_dtype)
      : bits(bits_),
        dim(dim_),
        rows(rows_),
        input(DType::kFloat32, int64_t{rows_} * dim_),
        codes(DType::kUInt8, int64_t{rows_} * dim_ * bits_ / 8),
        norms(norm_dtype, rows_),
        output(DType::kFloat32, int64_t{rows_} * dim_),
        status(DType::kInt32, 1) {
    std::mt19937 random(static_cast<uint32_t>(dim * 10 + bits));
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < input.count(); ++i) {
      // Rows shrink down to denormal numbers, the last rows being nothing else.
      input.set(i, std::ldexp(normal(random), static_cast<int>(-i / dim * 147 / rows)));
    }
    status.set(0, 0);
  }

  void run(const cpu::KernelTable& table, const char* kernel) {
    Launch launch;
    launch.kernel = kernel;
    launch.add_dtype(DType::kFloat32);
    launch.add_dtype(norms.dtype());
    launch.constants.set_uint(kConstantBits, static_cast<uint32_t>(bits));
    launch.constants.set_uint(kConstantNormKind, kNormCorrected);
    launch.constants.set_uint(kConstantSearchSteps, 5);
    launch.constants.set_bool(kConstantInverse, true);
    CodecParams params{};
    params.outer = params.middle = 1;
    params.rows = rows;
    params.head_dim = dim;
    params.input_strides[2] = params.output_strides[2] = dim;
    params.code_strides[2] = dim * bits / 8;
    params.norm_strides[2] = 1;
    params.signs[0] = 0x13579bdf;
    launch.set_params(params);
    input.bind(launch, kSlotInput, Access::kRead);
    output.bind(launch, kSlotOutput, Access::kWrite);
    codes.bind(launch, kSlotCodes, Access::kReadWrite);
    norms.bind(launch, kSlotNorms, Access::kReadWrite);
    status.bind(launch, kSlotStatus, Access::kReadWrite);
    launch.grid = {static_cast<uint32_t>((rows + 63) / 64), 1, 1};
    cpu::Scratch scratch;
    table.find(kernel)(launch, 0, launch.grid.count(), scratch);
  }

  std::vector<float> codes_and_norms() const {
    std::vector<float> values;
    for (int64_t i = 0; i < codes.count(); ++i) values.push_back(codes.get(i));
    for (int64_t i = 0; i < norms.count(); ++i) values.push_back(norms.get(i));
    return values;
  }
};

constexpr int kAllBits[] = {2, 3, 4, 5, 6, 8};
constexpr int kAllDims[] = {32, 64, 128, 256, 512};

TEST(CodecKernels, StayInsideTheirBuffers) {
  for (const cpu::KernelTable& table : cpu::available_kernel_tables()) {
    for (int bits : kAllBits) {
      for (int dim : kAllDims) {
        CodecCase problem(bits, dim, 3, DType::kFloat16);
        problem.run(table, "tq_encode");
        problem.run(table, "tq_decode");
        problem.run(table, "tq_encode");
        EXPECT_EQ(problem.status.get(0), 0.0f);
        EXPECT_TRUE(std::isfinite(problem.output.get(problem.output.count() - 1)));
      }
    }
  }
}

#if defined(__x86_64__)
/// Flushes denormal numbers to zero for its lifetime, as other libraries in a process may do for good.
class FlushDenormals {
 public:
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
};

TEST(CodecKernels, FlushedDenormalsChangeNoBit) {
  for (const cpu::KernelTable& table : cpu::available_kernel_tables()) {
    for (int bits : kAllBits) {
      CodecCase usual(bits, 64, 150, DType::kFloat32), flushed(bits, 64, 150, DType::kFloat32);
      usual.run(table, "tq_encode");
      {
        const FlushDenormals mode;
        flushed.run(table, "tq_encode");
      }
      EXPECT_EQ(usual.codes_and_norms(), flushed.codes_and_norms())
          << table.instruction_set << ", " << bits << " bits";
    }
  }
}
#endif

TEST(CodecKernels, StatusNamesEveryKindOfFailure) {
  for (const cpu::KernelTable& table : cpu::available_kernel_tables()) {
    CodecCase problem(4, 64, 70, DType::kFloat16);
    problem.input.set(64 * 3 + 5, INFINITY);
    problem.run(table, "tq_encode");
    EXPECT_EQ(problem.status.get(0), kStatusNotFinite);
    problem.input.set(64 * 3 + 5, 1e6f);
    problem.status.set(0, 0);
    problem.run(table, "tq_encode");
    EXPECT_EQ(problem.status.get(0), kStatusNormOverflow);
    problem.input.set(64 * 69, NAN);
    problem.run(table, "tq_encode");
    EXPECT_EQ(problem.status.get(0), kStatusNotFinite | kStatusNormOverflow);
  }
}

}  // namespace
}  // namespace metalhead::test
