// Pipelines: names, function constants, the cache, and the archive that a second process finds.
#include <fstream>

#include "devices/metal/completion.h"
#include "devices/metal/gpu_cores.h"
#include "devices/metal/head_dim_variants.h"
#include "devices/metal/pipeline_key.h"
#include "metal_fixture.h"
#include "params/function_constants.h"

namespace metalhead::metal_test {
namespace {

using metal::PipelineKey;
using PipelineTest = MetalTest;

/// A folder that is gone at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "metalhead-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST_F(PipelineTest, function_constants_specialise) {
  const Tensor a = make_vector(device(), 64), out = make_vector(device(), 64),
               bias = make_vector(device(), 64);
  fill(a, 1, 1);
  fill(bias, 100, 0);
  device().launch(repeated_launch(a, out, 3, nullptr));
  device().wait();
  EXPECT_EQ(out.data_as<float>()[1], 6.0f);
  device().launch(repeated_launch(a, out, 5, &bias));
  device().wait();
  EXPECT_EQ(out.data_as<float>()[1], 110.0f);
  for (const Tensor& tensor : {a, out, bias}) device().release(tensor.buffer);
}

TEST_F(PipelineTest, a_pipeline_is_compiled_once) {
  expect_working();
  const uint64_t before = sim::execution_counts().pipelines_compiled;
  expect_working();
  EXPECT_EQ(sim::execution_counts().pipelines_compiled, before);
}

TEST_F(PipelineTest, the_archive_serves_the_next_device) {
  const TemporaryFolder folder;
  MetalOptions options = test_options();
  options.cache_folder = folder.path();
  device_ = make_metal_device(options);
  expect_working();
  const sim::ExecutionCounts before = sim::execution_counts();
  device_ = make_metal_device(options);
  device().warm_up();
  EXPECT_EQ(sim::execution_counts().pipelines_compiled, before.pipelines_compiled);
  EXPECT_EQ(sim::execution_counts().pipelines_from_archive, before.pipelines_from_archive + 1);
  expect_working();
  EXPECT_EQ(sim::execution_counts().pipelines_from_archive, before.pipelines_from_archive + 1);
}

TEST_F(PipelineTest, a_damaged_archive_is_replaced) {
  const TemporaryFolder folder;
  MetalOptions options = test_options();
  options.cache_folder = folder.path();
  device_ = make_metal_device(options);
  expect_working();
  for (const auto& file : std::filesystem::directory_iterator(folder.path())) {
    std::ofstream(file.path()) << "garbage";
  }
  device_ = make_metal_device(options);
  device().warm_up();
  expect_working();
  const uint64_t before = sim::execution_counts().pipelines_from_archive;
  device_ = make_metal_device(options);
  expect_working();
  EXPECT_EQ(sim::execution_counts().pipelines_from_archive, before + 1);
}

TEST_F(PipelineTest, an_archive_that_fails_costs_nothing_but_time) {
  const TemporaryFolder folder;
  MetalOptions options = test_options();
  options.cache_folder = folder.path();
  sim::inject_fault(sim::Fault::kArchiveCreate, "no archive");
  device_ = make_metal_device(options);
  expect_working();
  sim::inject_fault(sim::Fault::kArchiveSerialize, "disk full");
  device_ = make_metal_device(options);
  expect_working();
  options.cache_folder = "/proc/no/such/folder";
  device_ = make_metal_device(options);
  expect_working();
}

TEST(PipelineKeyTest, names_follow_kernel_and_dtypes) {
  Launch launch;
  launch.kernel = "vector_add";
  for (int i = 0; i < 3; ++i) launch.add_dtype(DType::kFloat16);
  launch.add_dtype(DType::kBFloat16);
  EXPECT_EQ(metal::pipeline_key(launch).name, "vector_add_float16_float16_float16_bfloat16");
  EXPECT_EQ(metal::pipeline_key(launch).constants.set_mask, 0u);
  launch.kernel = "flash_attn_vec";
  EXPECT_EQ(metal::pipeline_key(launch).name, "flash_attn_vec_float16");
  EXPECT_EQ(metal::pipeline_key(launch).constants[kConstantDType3], static_cast<uint32_t>(DType::kBFloat16));
  launch.kernel = "hadamard";
  EXPECT_EQ(metal::pipeline_key(launch).name, "hadamard");
  launch.kernel = "vector_add";
  launch.dtype_count = 0;
  EXPECT_EQ(metal::pipeline_key(launch).name, "vector_add");
}

TEST(PipelineKeyTest, lines_round_trip) {
  PipelineKey key{"sdpa", "sdpa_float32", {}};
  key.constants.set_uint(0, 128);
  key.constants.set_bool(18, true);
  const auto back = metal::key_from_line(metal::to_line(key));
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(*back, key);
  EXPECT_FALSE(metal::key_from_line("sdpa sdpa_float32 1").has_value());
  EXPECT_FALSE(metal::key_from_line(metal::to_line(key) + " 7").has_value());
  EXPECT_FALSE(metal::key_from_line("").has_value());
}

TEST(PipelineKeyTest, patterns_tell_launches_apart) {
  Launch one;
  one.kernel = "sdpa";
  one.constants.set_uint(0, 64);
  Launch other = one;
  const metal::LaunchPattern pattern(one);
  EXPECT_TRUE(pattern.matches(other));
  EXPECT_EQ(metal::pattern_hash(one), metal::pattern_hash(other));
  other.constants.set_uint(0, 65);
  EXPECT_FALSE(pattern.matches(other));
  EXPECT_NE(metal::pattern_hash(one), metal::pattern_hash(other));
}

TEST(HeadDimVariantsTest, the_smallest_fitting_size) {
  static constexpr uint32_t kSizes[] = {64, 128, 256};
  const metal::HeadDimVariants rows[] = {{"sdpa", kSizes}};
  EXPECT_EQ(metal::head_dim_suffix("sdpa", 64, 64, rows), "_d64");
  EXPECT_EQ(metal::head_dim_suffix("sdpa", 80, 64, rows), "_d128");
  EXPECT_EQ(metal::head_dim_suffix("sdpa", 64, 192, rows), "_d256");
  EXPECT_EQ(metal::head_dim_suffix("sdpa", 512, 64, rows), "_d0");
  EXPECT_EQ(metal::head_dim_suffix("hadamard", 64, 64, rows), "");
}

TEST(GpuCoresTest, longer_names_win) {
  EXPECT_EQ(metal::gpu_cores("Apple M2"), 10u);
  EXPECT_EQ(metal::gpu_cores("Apple M2 Max"), 38u);
  EXPECT_EQ(metal::gpu_cores("Apple M9"), 10u);
}

TEST(CompletionTest, tickets_may_finish_in_any_order) {
  metal::Completion completion;
  completion.finish(2, "", 0.5);
  EXPECT_EQ(completion.completed(), 0u);
  completion.finish(3, "second", 0.25);
  completion.finish(1, "third", 0.25);
  EXPECT_EQ(completion.completed(), 3u);
  completion.wait_for(3);
  EXPECT_EQ(completion.take_error(), "second");
  EXPECT_EQ(completion.take_error(), "");
  EXPECT_EQ(completion.times().command_buffers, 3u);
  EXPECT_DOUBLE_EQ(completion.times().total_seconds, 1.0);
}

}  // namespace
}  // namespace metalhead::metal_test
