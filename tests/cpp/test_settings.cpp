// Tests of the environment variables: what each accepts, and what the error of a malformed one says.
#include "core/settings.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "environment_variable.h"
#include "thrown_text.h"

namespace metalhead {
namespace {

using test::EnvironmentVariable;

std::string error_of(const char* variable, const char* value) {
  const EnvironmentVariable scope(variable, value);
  return test::thrown_text<ValueError>([] { read_settings(); });
}

TEST(SettingsTest, NothingIsSetByDefault) {
  const EnvironmentVariable threads("METALHEAD_NUM_THREADS", std::nullopt);
  const EnvironmentVariable isa("METALHEAD_CPU_ISA", std::nullopt);
  const EnvironmentVariable device("METALHEAD_DEVICE", std::nullopt);
  const EnvironmentVariable limit("METALHEAD_POOL_LIMIT_MB", std::nullopt);
  const EnvironmentVariable folder("METALHEAD_CACHE_DIR", std::nullopt);
  const Settings settings = read_settings();
  EXPECT_FALSE(settings.threads || settings.instruction_set || settings.default_device ||
               settings.pool_limit_bytes || settings.cache_folder);
}

TEST(SettingsTest, ReadsEveryVariable) {
  const EnvironmentVariable threads("METALHEAD_NUM_THREADS", "3");
  const EnvironmentVariable isa("METALHEAD_CPU_ISA", "avx2");
  const EnvironmentVariable device("METALHEAD_DEVICE", "metal");
  const EnvironmentVariable limit("METALHEAD_POOL_LIMIT_MB", "8192");
  const EnvironmentVariable folder("METALHEAD_CACHE_DIR", "/var/cache/a folder");
  const Settings settings = read_settings();
  EXPECT_EQ(settings.threads, 3);
  EXPECT_EQ(settings.instruction_set, "avx2");
  EXPECT_EQ(settings.default_device, "metal");
  EXPECT_EQ(settings.pool_limit_bytes, uint64_t{8} << 30);
  EXPECT_EQ(settings.cache_folder, "/var/cache/a folder");
}

TEST(SettingsTest, BoundsAreIncluded) {
  for (const int value : {1, 1024}) {
    const EnvironmentVariable threads("METALHEAD_NUM_THREADS", std::to_string(value));
    EXPECT_EQ(read_settings().threads, value);
  }
  const EnvironmentVariable none("METALHEAD_POOL_LIMIT_MB", "0");
  EXPECT_EQ(read_settings().pool_limit_bytes, 0u);
  const EnvironmentVariable most("METALHEAD_POOL_LIMIT_MB", "4398046511104");
  EXPECT_EQ(read_settings().pool_limit_bytes, uint64_t{1} << 62);
}

TEST(SettingsTest, MalformedNumbersAreErrors) {
  for (const char* value :
       {"", "0", "-1", "1025", "2.5", "2x", " 2", "2 ", "+2", "0x10", "two", "99999999999999999999"}) {
    EXPECT_EQ(error_of("METALHEAD_NUM_THREADS", value),
              concat("METALHEAD_NUM_THREADS must be an integer from 1 to 1024, got '", value, "'"));
  }
  for (const char* value : {"", "-1", "1e3", "4398046511105", "18446744073709551616"}) {
    EXPECT_EQ(
        error_of("METALHEAD_POOL_LIMIT_MB", value),
        concat("METALHEAD_POOL_LIMIT_MB must be an integer from 0 to 4398046511104, got '", value, "'"));
  }
}

TEST(SettingsTest, EmptyTextsAreErrors) {
  EXPECT_EQ(error_of("METALHEAD_CPU_ISA", ""),
            "METALHEAD_CPU_ISA must be the name of an instruction set, got ''");
  EXPECT_EQ(error_of("METALHEAD_DEVICE", ""), "METALHEAD_DEVICE must be the name of a device, got ''");
  EXPECT_EQ(error_of("METALHEAD_CACHE_DIR", ""), "METALHEAD_CACHE_DIR must be a folder, got ''");
}

TEST(SettingsTest, StayAsTheyWereAtFirstUse) {
  const std::optional<int> first = settings().threads;
  const EnvironmentVariable threads("METALHEAD_NUM_THREADS", "77");
  EXPECT_EQ(settings().threads, first);
  EXPECT_EQ(&settings(), &settings());
}

}  // namespace
}  // namespace metalhead
