// The attention kernels of every instruction set that this machine has, against the formula.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "attention_case.h"

namespace metalhead::test {
namespace {

struct Errors {
  double out = 0.0;  ///< largest, relative to the largest output of the reference
  double lse = 0.0;  ///< largest, absolute
};

Errors errors_of(const Answer& answer, const Answer& reference) {
  double largest = 0.0;
  for (double x : reference.out) largest = std::max(largest, std::fabs(x));
  Errors errors;
  const auto raise = [](double& error, double difference) {
    if (!(difference <= error)) error = difference;
  };
  for (size_t i = 0; i < reference.out.size(); ++i) {
    const double difference = std::fabs(answer.out[i] - reference.out[i]);
    raise(errors.out, largest > 0.0 ? difference / largest : difference);
  }
  for (size_t i = 0; i < reference.lse.size(); ++i) {
    const bool same_infinity = std::isinf(reference.lse[i]) && answer.lse[i] == reference.lse[i];
    if (!same_infinity) raise(errors.lse, std::fabs(answer.lse[i] - reference.lse[i]));
  }
  return errors;
}

/// The project's one accuracy rule: twice the error of the plain float32 program, plus 1e-6.
class AttentionKernels : public ::testing::Test {
 protected:
  void check(const CaseOptions& options) {
    AttentionCase problem(options);
    const Answer reference = problem.reference();
    const Errors allowed = errors_of(problem.plain_float(), reference);
    for (const cpu::KernelTable& table : cpu::available_kernel_tables()) {
      for (int rows : {1, 5, 64, 240}) {
        expect_close(problem.run_sdpa(table, rows), reference, allowed, options, table, "sdpa");
      }
      if (options.query_length > 16) continue;
      for (int splits : {1, 2, 5}) {
        expect_close(problem.run_flash_attn_vec(table, splits), reference, allowed, options, table,
                     "flash_attn_vec");
      }
    }
  }

 private:
  static void expect_close(const Answer& answer, const Answer& reference, const Errors& allowed,
                           const CaseOptions& options, const cpu::KernelTable& table, const char* kernel) {
    const Errors errors = errors_of(answer, reference);
    EXPECT_LE(errors.out, 2.0 * allowed.out + 1e-6)
        << kernel << " " << table.instruction_set << " " << options.text();
    double largest = 1.0;
    for (double x : reference.lse) largest = std::max(largest, std::isinf(x) ? 0.0 : std::fabs(x));
    if (!options.lse) return;
    EXPECT_LE(errors.lse, 2.0 * allowed.lse + 1e-6 * largest)
        << kernel << " lse " << table.instruction_set << " " << options.text();
  }
};

TEST_F(AttentionKernels, SmallestCases) {
  for (int keys : {1, 2, 3, 16, 17}) {
    for (int dim : {1, 7, 8, 64})
      check({.kv_length = keys, .kv_capacity = keys, .head_dim = dim, .value_dim = dim});
  }
}

TEST_F(AttentionKernels, LengthsAroundTileEdges) {
  for (int keys : {31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300, 513}) {
    check({.query_heads = 2, .query_length = 3, .kv_length = keys, .kv_capacity = keys + 5});
  }
}

TEST_F(AttentionKernels, ColumnsAroundTileEdges) {
  for (int columns : {15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 80, 81, 96, 97, 112, 113, 127, 129}) {
    check({.query_heads = 2,
           .kv_heads = 1,
           .query_length = 17,
           .kv_length = columns,
           .kv_capacity = columns,
           .head_dim = 24,
           .value_dim = 145 - columns});
  }
}

TEST_F(AttentionKernels, StreamsOfAnyLength) {
  constexpr DType kTypes[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};
  int run = 0;
  for (int keys : {127, 128, 129, 135, 136, 137, 143, 144, 145, 191, 255, 511, 512, 513, 530, 639, 650}) {
    const int group = 1 << run % 4, dim = 40 + 24 * (run % 3);
    check({.query_heads = 2 * group,
           .kv_heads = 2,
           .kv_length = keys,
           .kv_capacity = keys + run % 2,
           .head_dim = dim,
           .value_dim = 112 - dim,
           .kv_dtype = kTypes[run % 3],
           .token_major = run % 5 == 0,
           .cancelling = run % 2 == 0});
    ++run;
  }
}

TEST_F(AttentionKernels, RowCountsAroundTileEdges) {
  for (int rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16, 17, 23, 24, 25, 61}) {
    check({.query_heads = 3,
           .kv_heads = 1,
           .query_length = rows,
           .kv_length = 70,
           .kv_capacity = 70,
           .head_dim = 32,
           .value_dim = 48});
  }
}

TEST_F(AttentionKernels, EveryHeadDim) {
  for (int dim = 1; dim <= 80; ++dim) {
    check({.query_heads = 2,
           .query_length = 2,
           .kv_length = 40,
           .kv_capacity = 40,
           .head_dim = dim,
           .value_dim = 81 - dim});
  }
  for (int dim : {96, 100, 112, 128, 160, 192, 250, 256, 320, 512, 576}) {
    check({.query_heads = 2,
           .query_length = 2,
           .kv_length = 90,
           .kv_capacity = 90,
           .head_dim = dim,
           .value_dim = dim == 192   ? 128
                        : dim == 576 ? 512
                                     : dim});
  }
}

TEST_F(AttentionKernels, GroupsOfAnySize) {
  for (int group : {1, 2, 3, 4, 5, 6, 7, 8, 16, 64, 71}) {
    check({.query_heads = 2 * group,
           .kv_heads = 2,
           .query_length = 2,
           .kv_length = 50,
           .kv_capacity = 50,
           .head_dim = 16,
           .value_dim = 16});
  }
}

TEST_F(AttentionKernels, MoreRowsThanKeysLeavesRowsEmpty) {
  check({.query_heads = 2, .query_length = 9, .kv_length = 4, .kv_capacity = 8, .sinks = true});
  check({.query_length = 40, .kv_length = 4, .kv_capacity = 8, .window_left = 2});
}

TEST_F(AttentionKernels, WindowsOfBothSides) {
  for (int left : {0, 1, 15, 100, METALHEAD_MAX_LENGTH}) {
    for (int right : {0, 1, 20, METALHEAD_MAX_LENGTH}) {
      check({.query_length = 13,
             .kv_length = 200,
             .kv_capacity = 200,
             .head_dim = 32,
             .value_dim = 32,
             .window_left = left,
             .window_right = right});
      check({.query_length = 90,
             .kv_length = 90,
             .kv_capacity = 90,
             .head_dim = 32,
             .value_dim = 32,
             .window_left = left,
             .window_right = right});
    }
  }
}

TEST_F(AttentionKernels, EveryPairOfStorageTypes) {
  const DType types[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};
  for (DType query : types) {
    for (DType kv : types) {
      for (DType out : types) {
        check({.query_heads = 4,
               .kv_heads = 2,
               .query_length = 5,
               .kv_length = 67,
               .kv_capacity = 70,
               .head_dim = 72,
               .value_dim = 40,
               .query_dtype = query,
               .kv_dtype = kv,
               .out_dtype = out});
      }
    }
  }
}

/// All bfloat16, which has products of its own on some instruction sets.
CaseOptions in_bfloat16(CaseOptions options) {
  options.query_dtype = options.kv_dtype = options.out_dtype = DType::kBFloat16;
  return options;
}

TEST_F(AttentionKernels, BFloat16OfEveryHeadDim) {
  for (int dim = 1; dim <= 70; ++dim) {
    check(in_bfloat16({.query_heads = 2,
                       .query_length = 2,
                       .kv_length = 41,
                       .kv_capacity = 41,
                       .head_dim = dim,
                       .value_dim = 71 - dim}));
  }
  for (int dim : {80, 96, 127, 128, 129, 192, 256, 511, 512, 576}) {
    check(in_bfloat16({.query_heads = 2,
                       .query_length = 5,
                       .kv_length = 300,
                       .kv_capacity = 300,
                       .head_dim = dim,
                       .value_dim = dim == 576 ? 512 : dim}));
  }
}

TEST_F(AttentionKernels, BFloat16AroundTileEdges) {
  for (int keys : {1, 2, 3, 15, 16, 17, 31, 32, 33, 47, 49, 63, 65, 127, 255, 256, 257, 300, 513}) {
    for (int rows : {1, 3, 4, 5, 8, 9, 13, 25}) {
      check(in_bfloat16({.query_heads = 3,
                         .query_length = rows,
                         .kv_length = keys,
                         .kv_capacity = keys + 5,
                         .head_dim = 24,
                         .value_dim = 40,
                         .window_left = keys > 100 ? 77 : METALHEAD_MAX_LENGTH}));
    }
  }
}

TEST_F(AttentionKernels, BFloat16OfAllKindsOfScores) {
  for (float size : {0.0f, 0.1f, 1.0f, 5.0f, 20.0f}) {
    for (bool cancelling : {false, true}) {
      for (bool sinks : {false, true}) {
        check(in_bfloat16({.query_heads = 2,
                           .query_length = 20,
                           .kv_length = 500,
                           .kv_capacity = 500,
                           .window_right = cancelling ? METALHEAD_MAX_LENGTH : 0,
                           .score_size = size,
                           .sinks = sinks,
                           .cancelling = cancelling}));
      }
    }
  }
}

TEST_F(AttentionKernels, SteepAndFlatScores) {
  for (float size : {0.0f, 1e-3f, 10.0f, 100.0f}) {
    check({.query_length = 4, .kv_length = 150, .kv_capacity = 150, .score_size = size});
    check({.query_length = 4, .kv_length = 150, .kv_capacity = 150, .softcap = 20.0f, .score_size = size});
  }
}

TEST_F(AttentionKernels, MasksBroadcastAlongAnyAxes) {
  for (uint32_t kind = kMaskBool; kind <= kMaskBFloat16; ++kind) {
    for (uint32_t broadcast = 0; broadcast < 16; ++broadcast) {
      check({.batch = 2,
             .query_heads = 2,
             .query_length = 5,
             .kv_length = 75,
             .kv_capacity = 75,
             .head_dim = 16,
             .value_dim = 16,
             .window_right = 3,
             .mask_kind = kind,
             .mask_broadcast = broadcast});
    }
  }
}

TEST_F(AttentionKernels, RingsWrapAnywhere) {
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    check({.seed = seed,
           .batch = 2,
           .query_heads = 2,
           .query_length = 3,
           .kv_length = 190,
           .kv_capacity = 200,
           .head_dim = 24,
           .value_dim = 24,
           .window_left = seed % 2 != 0 ? 64 : METALHEAD_MAX_LENGTH,
           .ring = true,
           .ring_per_sequence = seed % 3 == 0});
  }
}

/// In parts, which a test runner may run at the same time: one after the other, they take minutes under
/// sanitizers.
class RandomAttention : public AttentionKernels, public ::testing::WithParamInterface<uint32_t> {};
constexpr uint32_t kRandomParts = 8;
INSTANTIATE_TEST_SUITE_P(Parts, RandomAttention, ::testing::Range(0u, kRandomParts));

TEST_P(RandomAttention, CombinationsOfEverything) {
  for (uint32_t seed = 1 + GetParam(); seed <= 120; seed += kRandomParts) {
    std::mt19937 random(seed);
    const auto pick = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    const DType types[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};
    CaseOptions o;
    o.seed = seed;
    o.batch = pick(1, 3);
    o.kv_heads = pick(1, 3);
    o.query_heads = o.kv_heads * pick(1, 5);
    o.query_length = pick(0, 2) == 0 ? pick(17, 70) : pick(1, 16);
    o.kv_length = pick(0, 3) == 0 ? pick(1, 20) : pick(20, 330);
    o.kv_capacity = o.kv_length + pick(0, 9);
    o.head_dim = pick(0, 1) == 0 ? 8 * pick(1, 20) : pick(1, 100);
    o.value_dim = pick(0, 1) == 0 ? o.head_dim : pick(1, 150);
    o.window_left = pick(0, 1) == 0 ? METALHEAD_MAX_LENGTH : pick(0, 150);
    o.window_right = pick(0, 1) == 0 ? 0 : pick(0, 1) == 0 ? METALHEAD_MAX_LENGTH : pick(0, 50);
    o.query_dtype = types[pick(0, 2)];
    o.kv_dtype = types[pick(0, 2)];
    o.out_dtype = types[pick(0, 2)];
    if (seed % 3 == 0) o = in_bfloat16(o);
    o.softcap = pick(0, 2) == 0 ? 15.0f : 0.0f;
    o.score_size = pick(0, 3) == 0 ? 8.0f : 1.0f;
    o.mask_kind = pick(0, 1) == 0 ? 0u : static_cast<uint32_t>(pick(1, 4));
    o.mask_broadcast = static_cast<uint32_t>(pick(0, 15));
    o.alibi = pick(0, 2) == 0;
    o.sinks = pick(0, 1) == 0;
    o.ragged = pick(0, 2) == 0;
    o.ring = pick(0, 2) == 0;
    o.ring_per_sequence = pick(0, 1) == 0;
    o.lse = pick(0, 3) != 0;
    o.token_major = pick(0, 2) == 0;
    check(o);
  }
}

TEST(StorePartial, JoinsFinishedResultsOverDisjointKeys) {
  constexpr int kHeads = 2, kRows = 3, kDim = 20, kParts = 3;
  for (const cpu::KernelTable& table : cpu::available_kernel_tables()) {
    for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
      std::mt19937 random(7);
      std::normal_distribution<float> normal;
      const int64_t rows = kHeads * kRows;
      GuardedArray partial_out(DType::kFloat32, rows * kParts * kDim),
          stats(DType::kFloat32, rows * kParts * 2);
      std::vector<double> sums(static_cast<size_t>(rows * kDim)), totals(static_cast<size_t>(rows));
      ReduceParams params{};
      params.batch = 1;
      params.query_heads = kHeads;
      params.query_length = kRows;
      params.value_dim = kDim;
      params.splits = kParts;
      params.out_strides[0] = rows * kDim;
      params.out_strides[1] = kRows * kDim;
      params.out_strides[2] = kDim;
      Launch launch;
      launch.add_dtype(dtype);
      launch.grid = {kRows, kHeads, 1};
      partial_out.bind(launch, kSlotPartialOut, Access::kWrite);
      stats.bind(launch, kSlotPartialStats, Access::kWrite);
      for (int part = 0; part < kParts; ++part) {
        GuardedArray out(dtype, rows * kDim), lse(DType::kFloat32, rows);
        for (int64_t i = 0; i < rows; ++i) {
          const bool empty = i == 0 || (i == 1 && part == 1);
          lse.set(i, empty ? -INFINITY : 4.0f * normal(random));
          const double weight = empty ? 0.0 : std::exp(static_cast<double>(lse.get(i)));
          totals[static_cast<size_t>(i)] += weight;
          for (int d = 0; d < kDim; ++d) {
            out.set(i * kDim + d, empty ? NAN : normal(random));
            if (!empty)
              sums[static_cast<size_t>(i * kDim + d)] += weight * static_cast<double>(out.get(i * kDim + d));
          }
        }
        params.split = part;
        launch.kernel = "store_partial";
        launch.set_params(params);
        out.bind(launch, kSlotOut, Access::kRead);
        lse.bind(launch, kSlotLse, Access::kRead);
        run_launch(table, launch);
      }
      GuardedArray out(DType::kFloat32, rows * kDim), lse(DType::kFloat32, rows);
      launch.kernel = "flash_attn_vec_reduce";
      launch.dtypes[0] = DType::kFloat32;
      launch.constants.set_bool(kConstantHasLse, true);
      out.bind(launch, kSlotOut, Access::kWrite);
      lse.bind(launch, kSlotLse, Access::kWrite);
      run_launch(table, launch);
      for (int64_t i = 0; i < rows; ++i) {
        const double total = totals[static_cast<size_t>(i)];
        if (total == 0.0) {
          EXPECT_EQ(lse.get(i), -INFINITY);
        } else {
          EXPECT_NEAR(lse.get(i), std::log(total), 2e-6) << table.instruction_set;
        }
        for (int64_t at = i * kDim; at < (i + 1) * kDim; ++at) {
          const double expected = total == 0.0 ? 0.0 : sums[static_cast<size_t>(at)] / total;
          EXPECT_NEAR(out.get(at), expected, 2e-6) << table.instruction_set << " row " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace metalhead::test
