// Tests of what the library reads about the machine.
#include "devices/cpu/machine.h"

#include <gtest/gtest.h>

#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

namespace metalhead::cpu {
namespace {

TEST(MachineTest, QuotaRoundsUpToWholeCpus) {
  EXPECT_EQ(cpus_of_quota("max 100000"), 0);
  EXPECT_EQ(cpus_of_quota("200000 100000"), 2);
  EXPECT_EQ(cpus_of_quota("150000 100000"), 2);
  EXPECT_EQ(cpus_of_quota("1000 100000"), 1);
  EXPECT_EQ(cpus_of_quota("9223372036854775807 1"), INT32_MAX);
}

TEST(MachineTest, QuotaThatIsNoneOrUnreadableIsNoLimit) {
  for (const char* text : {"", " ", "-1 100000", "0 100000", "200000", "200000 0", "x y", "200000 "}) {
    EXPECT_EQ(cpus_of_quota(text), 0) << text;
  }
}

TEST(MachineTest, UsableCpusAreThoseOfTheMachineAtMost) {
  EXPECT_GE(usable_cpus(), 1);
  EXPECT_LE(usable_cpus(), static_cast<int>(std::thread::hardware_concurrency()));
}

#ifdef __linux__
TEST(MachineTest, UsableCpusFollowTheAffinityMask) {
  std::thread([] {
    cpu_set_t mask;
    ASSERT_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
    int first = 0;
    while (!CPU_ISSET(first, &mask)) ++first;
    CPU_ZERO(&mask);
    CPU_SET(first, &mask);
    ASSERT_EQ(sched_setaffinity(0, sizeof(mask), &mask), 0);
    EXPECT_EQ(usable_cpus(), 1);
  }).join();
}
#endif

TEST(MachineTest, HasANameAndMemory) {
  EXPECT_FALSE(cpu_model().empty());
  EXPECT_GT(physical_memory(), uint64_t{1} << 28);
}

}  // namespace
}  // namespace metalhead::cpu
