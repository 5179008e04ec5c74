// The C++ interface of the SIMT runtime: descriptions, dispatches, isolation between OS threads.
#include "simt.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <thread>

namespace metalhead::simt {
namespace {

template <class T>
std::vector<std::byte> bytes_of(T value) {
  std::vector<std::byte> bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

template <class T>
BufferRange range_of(std::vector<T>& values) {
  return {values.data(), values.size() * sizeof(T)};
}

/// vector_add over `count` elements in threadgroups of 64, with its buffers.
struct Addition {
  explicit Addition(std::uint32_t count, bool doubled, bool shifted)
      : a(count), b(count, 0.5f), out(count), n{count} {
    std::iota(a.begin(), a.end(), 0.0f);
    dispatch.kernel = find_kernel("vector_add_float");
    dispatch.constants = {{0, bytes_of(doubled)}, {1, bytes_of(shifted)}};
    dispatch.buffers[0] = range_of(a);
    dispatch.buffers[1] = range_of(b);
    dispatch.buffers[2] = range_of(out);
    dispatch.buffers[3] = range_of(n);
    dispatch.threadgroup_bytes[0] = 256;
    dispatch.threadgroups = {(count + 63) / 64, 1, 1};
    dispatch.threads_per_threadgroup = {64, 1, 1};
  }

  std::vector<float> a, b, out;
  std::vector<std::uint32_t> n;
  Dispatch dispatch;
};

TEST(Registry, DescribesKernels) {
  const KernelInfo* kernel = find_kernel("vector_add_half");
  ASSERT_NE(kernel, nullptr);
  EXPECT_EQ(kernel->name, "vector_add_half");
  EXPECT_EQ(kernel->file, "tests/sim/shaders/vector_add.metal");
  ASSERT_EQ(kernel->buffers.size(), 4u);
  EXPECT_EQ(kernel->buffers[0].name, "a");
  EXPECT_EQ(kernel->buffers[0].access, Access::kRead);
  EXPECT_EQ(kernel->buffers[0].element_bytes, 2u);
  EXPECT_EQ(kernel->buffers[2].access, Access::kReadWrite);
  EXPECT_EQ(kernel->buffers[3].type, "constant uint&");
  EXPECT_EQ(kernel->buffers[3].element_bytes, 4u);
  ASSERT_EQ(kernel->threadgroup_arguments.size(), 1u);
  EXPECT_EQ(kernel->static_threadgroup_bytes, 128u);
  EXPECT_EQ(find_kernel("vector_add_float4")->static_threadgroup_bytes, 1024u);
  ASSERT_EQ(kernel->constants.size(), 2u);
  EXPECT_EQ(kernel->constants[1].name, "shifted");
  EXPECT_EQ(kernel->constants[1].bytes, 1u);
  EXPECT_EQ(find_kernel("few_threads")->max_threads_per_threadgroup, 64u);
  EXPECT_EQ(find_kernel("nothing"), nullptr);
  EXPECT_EQ(find_kernel("vector_add_half"), kernel);
}

TEST(Registry, ListsNamesInOrder) {
  const std::vector<std::string> names = kernel_names();
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_EQ(std::count(names.begin(), names.end(), "vector_add_float"), 1);
}

TEST(Run, ComputesAndCounts) {
  for (std::uint64_t seed : {0u, 1u, 2u}) {
    Addition addition(200, true, false);
    addition.dispatch.seed = seed;
    const Result result = run(addition.dispatch);
    ASSERT_EQ(result.error, "");
    for (std::size_t i = 0; i < addition.out.size(); ++i)
      EXPECT_EQ(addition.out[i], 2 * (addition.a[i] + 0.5f));
    EXPECT_EQ(result.counters.threadgroups, 4u);
    EXPECT_EQ(result.counters.threads, 256u);
    EXPECT_EQ(result.counters.threadgroup_barriers, 4u);
    EXPECT_EQ(result.counters.threadgroup_bytes, 512u);
    EXPECT_EQ(result.counters.traffic.size(), addition.dispatch.kernel->instrumented ? 6u : 0u);
  }
}

TEST(Run, ReportsErrorsAndLeavesNothingBehind) {
  EXPECT_EQ(run(Dispatch{}).error, "no kernel given");
  Addition unbound(64, false, false);
  unbound.dispatch.buffers[1] = {};
  EXPECT_EQ(run(unbound.dispatch).error,
            "kernel 'vector_add_float': buffer 1 (`b`, device const T*) is not bound");
  Addition wide(64, false, false);
  wide.dispatch.constants[0] = bytes_of(std::uint32_t{1});
  EXPECT_NE(run(wide.dispatch).error.find("has 4 bytes, its type bool has 1"), std::string::npos);
  Addition missing(64, false, false);
  missing.dispatch.constants.erase(1);
  EXPECT_NE(run(missing.dispatch).error.find("function constant 1 (`shifted`) is read"), std::string::npos);
  Addition good(64, false, true);
  EXPECT_EQ(run(good.dispatch).error, "");
  EXPECT_EQ(good.out[3], 4.5f);
}

TEST(Run, UnknownConstantsAreIgnoredAsMetalDoes) {
  Addition addition(64, false, false);
  addition.dispatch.constants[9] = bytes_of(1.0f);
  EXPECT_EQ(run(addition.dispatch).error, "");
}

TEST(Run, DispatchesOfSeveralOsThreadsAreIsolated) {
  constexpr int kThreads = 4, kRounds = 20;
  std::vector<std::string> errors(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([t, &errors] {
      for (int round = 0; round < kRounds && errors[t].empty(); ++round) {
        const bool doubled = (t + round) % 2 != 0;
        Addition addition(100 + static_cast<std::uint32_t>(t), doubled, !doubled);
        addition.dispatch.seed = static_cast<std::uint64_t>(round);
        errors[t] = run(addition.dispatch).error;
        for (std::size_t i = 0; i < addition.out.size(); ++i) {
          const float sum = addition.a[i] + 0.5f;
          if (addition.out[i] != (doubled ? 2 * sum : sum + 1)) errors[t] = "wrong value";
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

TEST(Run, AnErrorInOneOsThreadDoesNotReachAnother) {
  std::vector<float> data(64);
  std::string failed;
  std::thread other([&] {
    Dispatch dispatch;
    dispatch.kernel = find_kernel("divergent_barrier");
    dispatch.buffers[0] = range_of(data);
    dispatch.threads_per_threadgroup = {64, 1, 1};
    failed = run(dispatch).error;
  });
  Addition addition(6400, true, false);
  EXPECT_EQ(run(addition.dispatch).error, "");
  other.join();
  EXPECT_NE(failed.find("threadgroup_barrier at tests/sim/shaders/wrong.metal:"), std::string::npos)
      << failed;
}

TEST(Run, InstrumentedKernelsLeaveBeforeTheFaultyAccess) {
  const KernelInfo* kernel = find_kernel("write_out_of_bounds");
  if (!kernel->instrumented) GTEST_SKIP() << "plain kernels do not check bounds";
  std::vector<float> data(64);
  Dispatch dispatch;
  dispatch.kernel = kernel;
  dispatch.buffers[0] = {data.data(), 32 * sizeof(float)};
  dispatch.threads_per_threadgroup = {32, 1, 1};
  const std::string error = run(dispatch).error;
  EXPECT_NE(error.find("out of bounds: thread 16 (simdgroup 0, lane 16)"), std::string::npos) << error;
  EXPECT_NE(error.find("tests/sim/shaders/wrong.metal:"), std::string::npos) << error;
  EXPECT_TRUE(std::all_of(data.begin() + 32, data.end(), [](float x) { return x == 0; }));
}

}  // namespace
}  // namespace metalhead::simt
