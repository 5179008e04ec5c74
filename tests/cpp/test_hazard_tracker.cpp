// Tests of the hazard tracker, against a tracker that marks every byte.
#include "core/hazard_tracker.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <tuple>

namespace metalhead {
namespace {

std::array<std::byte, 4096> memory;

BufferBinding range(uint64_t begin, uint64_t end, Access access) {
  return {{memory.data(), memory.size(), nullptr}, begin, end - begin, access};
}

Launch launch_with(std::initializer_list<BufferBinding> bindings) {
  Launch launch;
  size_t slot = 0;
  for (const BufferBinding& binding : bindings) launch.buffers[slot++] = binding;
  return launch;
}

bool conflicts(const BufferBinding& first, const BufferBinding& second) {
  HazardTracker tracker;
  tracker.record(launch_with({first}));
  return tracker.needs_barrier(launch_with({second}));
}

TEST(HazardTrackerTest, KindsOfAccess) {
  using enum Access;
  for (const auto& [first, second, expected] : {std::tuple{kRead, kRead, false},
                                                {kRead, kWrite, true},
                                                {kWrite, kRead, true},
                                                {kWrite, kWrite, true},
                                                {kReadWrite, kRead, true},
                                                {kRead, kReadWrite, true},
                                                {kReadWrite, kReadWrite, true}}) {
    EXPECT_EQ(conflicts(range(0, 64, first), range(32, 96, second)), expected);
    EXPECT_FALSE(conflicts(range(0, 64, first), range(64, 96, second)));
  }
}

TEST(HazardTrackerTest, RangeEdges) {
  using enum Access;
  EXPECT_TRUE(conflicts(range(16, 32, kWrite), range(31, 40, kRead)));
  EXPECT_FALSE(conflicts(range(16, 32, kWrite), range(32, 40, kRead)));
  EXPECT_TRUE(conflicts(range(16, 32, kWrite), range(0, 17, kRead)));
  EXPECT_FALSE(conflicts(range(16, 32, kWrite), range(0, 16, kRead)));
  EXPECT_TRUE(conflicts(range(16, 32, kWrite), range(20, 21, kRead)));
  EXPECT_TRUE(conflicts(range(20, 21, kWrite), range(16, 32, kRead)));
}

TEST(HazardTrackerTest, UnboundSlotsDoNotCount) {
  HazardTracker tracker;
  tracker.record(launch_with({range(8, 8, Access::kWrite)}));
  EXPECT_EQ(tracker.range_count(), 0u);
  tracker.record(launch_with({range(0, 16, Access::kWrite)}));
  EXPECT_EQ(tracker.range_count(), 1u);
  EXPECT_FALSE(tracker.needs_barrier(launch_with({range(8, 8, Access::kWrite)})));
  EXPECT_FALSE(tracker.needs_barrier(Launch{}));
}

TEST(HazardTrackerTest, RangesOfOneLaunchDoNotConflictWithEachOther) {
  HazardTracker tracker;
  const Launch in_place = launch_with({range(0, 64, Access::kRead), range(0, 64, Access::kWrite)});
  EXPECT_FALSE(tracker.needs_barrier(in_place));
  tracker.record(in_place);
  EXPECT_TRUE(tracker.needs_barrier(in_place));
}

TEST(HazardTrackerTest, BarrierForgets) {
  HazardTracker tracker;
  tracker.record(launch_with({range(0, 64, Access::kWrite)}));
  tracker.barrier();
  EXPECT_EQ(tracker.range_count(), 0u);
  EXPECT_FALSE(tracker.needs_barrier(launch_with({range(0, 64, Access::kWrite)})));
}

TEST(HazardTrackerTest, AnEarlierLaunchStillCounts) {
  HazardTracker tracker;
  tracker.record(launch_with({range(0, 64, Access::kWrite)}));
  tracker.record(launch_with({range(100, 200, Access::kRead), range(200, 300, Access::kWrite)}));
  tracker.record(launch_with({range(400, 500, Access::kRead)}));
  EXPECT_EQ(tracker.range_count(), 4u);
  EXPECT_TRUE(tracker.needs_barrier(launch_with({range(10, 11, Access::kRead)})));
  EXPECT_TRUE(tracker.needs_barrier(launch_with({range(150, 151, Access::kWrite)})));
  EXPECT_FALSE(tracker.needs_barrier(launch_with({range(150, 151, Access::kRead)})));
}

TEST(HazardTrackerTest, BuffersThatShareMemoryConflictWhateverTheirHandles) {
  int first = 0;
  int second = 0;
  const BufferBinding a{{memory.data(), 128, &first}, 0, 64, Access::kWrite};
  const BufferBinding alias{{memory.data() + 32, 128, &second}, 0, 64, Access::kRead};
  const BufferBinding apart{{memory.data() + 64, 128, &second}, 0, 64, Access::kRead};
  EXPECT_TRUE(conflicts(a, alias));
  EXPECT_FALSE(conflicts(a, apart));
}

TEST(HazardTrackerTest, BuffersWithoutContentsAreToldApartByHandle) {
  int first = 0;
  int second = 0;
  const BufferBinding a{{nullptr, 128, &first}, 0, 64, Access::kWrite};
  const BufferBinding same{{nullptr, 128, &first}, 63, 1, Access::kRead};
  const BufferBinding other{{nullptr, 128, &second}, 0, 64, Access::kRead};
  EXPECT_TRUE(conflicts(a, same));
  EXPECT_FALSE(conflicts(a, other));
}

TEST(HazardTrackerTest, RangesPast32BitsAndAtTheEndOf64) {
  int handle = 0;
  const auto far = [&](uint64_t offset, uint64_t length, Access access) {
    return BufferBinding{{nullptr, UINT64_MAX, &handle}, offset, length, access};
  };
  const uint64_t gib = uint64_t{1} << 30;
  EXPECT_FALSE(conflicts(far(gib, 4096, Access::kWrite), far(5 * gib, 4096, Access::kRead)));
  EXPECT_TRUE(conflicts(far(5 * gib, 4096, Access::kWrite), far(4 * gib, 2 * gib, Access::kRead)));
  EXPECT_TRUE(conflicts(far(UINT64_MAX - 8, 100, Access::kWrite), far(UINT64_MAX - 4, 1, Access::kRead)));
}

TEST(HazardTrackerTest, AgreesWithATrackerOfSingleBytes) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    HazardTracker tracker;
    std::array<bool, 64> read{};
    std::array<bool, 64> written{};
    for (int step = 0; step < 12; ++step) {
      Launch launch;
      bool expected = false;
      for (size_t slot = 0; slot < 3; ++slot) {
        const uint64_t begin = random() % 60;
        const uint64_t end = begin + random() % 5;
        const auto access = static_cast<Access>(1 + random() % 3);
        launch.buffers[slot] = range(begin, end, access);
        for (uint64_t byte = begin; byte < end; ++byte) {
          expected |= written[byte] || (read[byte] && access != Access::kRead);
        }
      }
      ASSERT_EQ(tracker.needs_barrier(launch), expected);
      if (expected) {
        tracker.barrier();
        read.fill(false);
        written.fill(false);
      }
      tracker.record(launch);
      for (const BufferBinding& binding : launch.buffers) {
        for (uint64_t byte = binding.offset; byte < binding.offset + binding.length; ++byte) {
          read[byte] |= binding.access != Access::kWrite;
          written[byte] |= binding.access != Access::kRead;
        }
      }
    }
  }
}

}  // namespace
}  // namespace metalhead
