// The race rules one access at a time, and byte counting without a kernel.
#include "shadow.h"

#include <gtest/gtest.h>

#include "traffic.h"

namespace metalhead::simt {
namespace {

using Kind = Conflict::Kind;

class ShadowTest : public ::testing::Test {
 protected:
  void SetUp() override { epochs.begin_threadgroup(4); }

  Kind write(Shadow& shadow, unsigned thread, bool atomic = false, std::size_t offset = 0) {
    return shadow.access(offset, 4, true, {thread, thread / 32, 1, atomic}, epochs).kind;
  }
  Kind read(Shadow& shadow, unsigned thread, bool atomic = false, std::size_t offset = 0) {
    return shadow.access(offset, 4, false, {thread, thread / 32, 2, atomic}, epochs).kind;
  }

  Epochs epochs;
  Shadow device{64, false};
  Shadow threadgroup{64, true};
};

TEST_F(ShadowTest, OneThreadIsOrderedWithItself) {
  EXPECT_EQ(write(device, 3), Kind::kNone);
  EXPECT_EQ(read(device, 3), Kind::kNone);
  EXPECT_EQ(write(device, 3), Kind::kNone);
}

TEST_F(ShadowTest, ThreadsWithoutBarrierConflict) {
  EXPECT_EQ(write(device, 3), Kind::kNone);
  EXPECT_EQ(read(device, 4), Kind::kWriteThenRead);
  EXPECT_EQ(write(device, 4), Kind::kWriteThenWrite);
  EXPECT_EQ(read(device, 5, false, 8), Kind::kNone);
  EXPECT_EQ(write(device, 6, false, 8), Kind::kReadThenWrite);
}

TEST_F(ShadowTest, PartialOverlapConflicts) {
  EXPECT_EQ(write(device, 3, false, 4), Kind::kNone);
  EXPECT_EQ(read(device, 4, false, 7), Kind::kWriteThenRead);
  EXPECT_EQ(read(device, 4, false, 8), Kind::kNone);
}

TEST_F(ShadowTest, BarriersOrderOnlyTheirMemory) {
  EXPECT_EQ(write(device, 3), Kind::kNone);
  EXPECT_EQ(write(threadgroup, 3), Kind::kNone);
  epochs.pass_threadgroup_barrier(kSimtMemoryThreadgroup);
  EXPECT_EQ(read(threadgroup, 40), Kind::kNone);
  EXPECT_EQ(read(device, 40), Kind::kWriteThenRead);
  epochs.pass_threadgroup_barrier(kSimtMemoryDevice);
  EXPECT_EQ(read(device, 40), Kind::kNone);
}

TEST_F(ShadowTest, SimdgroupBarriersOrderOnlyTheirSimdgroup) {
  EXPECT_EQ(write(threadgroup, 3), Kind::kNone);
  epochs.pass_simdgroup_barrier(0, kSimtMemoryThreadgroup);
  EXPECT_EQ(read(threadgroup, 4), Kind::kNone);
  EXPECT_EQ(read(threadgroup, 33), Kind::kWriteThenRead);
  epochs.pass_simdgroup_barrier(1, kSimtMemoryThreadgroup);
  EXPECT_EQ(read(threadgroup, 33), Kind::kWriteThenRead);
}

TEST_F(ShadowTest, ManyReadersAreAllRemembered) {
  EXPECT_EQ(write(threadgroup, 0), Kind::kNone);
  epochs.pass_threadgroup_barrier(kSimtMemoryThreadgroup);
  EXPECT_EQ(read(threadgroup, 1), Kind::kNone);
  EXPECT_EQ(read(threadgroup, 2), Kind::kNone);
  EXPECT_EQ(write(threadgroup, 2), Kind::kReadThenWrite);
  epochs.pass_simdgroup_barrier(0, kSimtMemoryThreadgroup);
  EXPECT_EQ(write(threadgroup, 2), Kind::kNone);
  epochs.pass_threadgroup_barrier(kSimtMemoryThreadgroup);
  EXPECT_EQ(read(threadgroup, 1), Kind::kNone);
  EXPECT_EQ(read(threadgroup, 70), Kind::kNone);
  epochs.pass_simdgroup_barrier(2, kSimtMemoryThreadgroup);
  EXPECT_EQ(write(threadgroup, 71), Kind::kReadThenWrite);
  epochs.pass_threadgroup_barrier(kSimtMemoryThreadgroup);
  EXPECT_EQ(write(threadgroup, 71), Kind::kNone);
}

TEST_F(ShadowTest, ThreadgroupsAreNeverOrdered) {
  EXPECT_EQ(write(device, 3), Kind::kNone);
  EXPECT_EQ(read(device, 3, false, 8), Kind::kNone);
  epochs.begin_threadgroup(4);
  EXPECT_EQ(read(device, 3), Kind::kWriteThenRead);
  EXPECT_EQ(read(device, 3, false, 8), Kind::kNone);
  EXPECT_EQ(write(device, 3, false, 8), Kind::kReadThenWrite);
}

TEST_F(ShadowTest, ThreadgroupMemoryStartsUninitialised) {
  EXPECT_EQ(read(threadgroup, 3), Kind::kUninitialised);
  EXPECT_EQ(write(threadgroup, 3), Kind::kNone);
  EXPECT_EQ(read(threadgroup, 3), Kind::kNone);
  epochs.begin_threadgroup(4);
  EXPECT_EQ(read(threadgroup, 3), Kind::kUninitialised);
  EXPECT_EQ(write(threadgroup, 9), Kind::kNone);
}

TEST_F(ShadowTest, AtomicsConflictOnlyWithPlainAccesses) {
  EXPECT_EQ(write(device, 3, true), Kind::kNone);
  EXPECT_EQ(write(device, 40, true), Kind::kNone);
  EXPECT_EQ(read(device, 4, true), Kind::kNone);
  epochs.begin_threadgroup(4);
  EXPECT_EQ(write(device, 3, true), Kind::kNone);
  EXPECT_EQ(read(device, 5), Kind::kWriteThenRead);
}

TEST(TrafficLog, MatchesLanesByInstructionAndStep) {
  TrafficLog log({64, 64});
  for (std::size_t lane = 0; lane < 4; ++lane) {
    log.begin_lane();
    log.add(0, 10, lane * 4, 4, false);  // first step: neighbours
    log.add(0, 10, 32, 4, false);        // second step: all the same bytes
    log.add(1, 11, lane * 8, 4, true);   // stores with gaps
  }
  log.end_segment();
  Traffic loads, stores;
  log.report(0, loads);
  log.report(1, stores);
  EXPECT_EQ(loads.lane_load_bytes, 32u);
  EXPECT_EQ(loads.load_bytes, 20u);
  EXPECT_EQ(loads.unique_load_bytes, 20u);
  EXPECT_EQ(loads.simdgroup_loads, 2u);
  EXPECT_EQ(stores.store_bytes, 16u);
  EXPECT_EQ(stores.unique_store_bytes, 16u);
  EXPECT_EQ(stores.simdgroup_stores, 1u);
}

TEST(TrafficLog, CountsSegmentsApartAndManyInstructions) {
  TrafficLog log({8192});
  for (int segment = 0; segment < 2; ++segment) {
    log.begin_lane();
    for (std::uint32_t pc = 0; pc < 2000; ++pc) log.add(0, pc, pc * 4, 4, false);
    log.end_segment();
  }
  Traffic loads;
  log.report(0, loads);
  EXPECT_EQ(loads.load_bytes, 16000u);
  EXPECT_EQ(loads.unique_load_bytes, 8000u);
  EXPECT_EQ(loads.simdgroup_loads, 4000u);
}

}  // namespace
}  // namespace metalhead::simt
