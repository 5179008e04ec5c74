// Tests of the buffer pool against a heap that counts, runs short on request, and knows what is still
// allocated.
#include "core/buffer_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "child_process.h"
#include "core/error.h"
#include "thrown_text.h"

namespace metalhead {
namespace {

constexpr uint64_t kNoLimit = UINT64_MAX;

/// Stands in for a device's memory.
struct FakeHeap {
  std::mutex mutex;
  std::set<void*> live;
  std::vector<void*> freed;
  uint64_t bytes = 0;
  uint64_t capacity = UINT64_MAX;
  int attempts = 0;
  std::atomic<uint64_t> completed{0};

  ~FakeHeap() {
    EXPECT_TRUE(live.empty()) << "the pool must free everything";
    for (void* contents : live) std::free(contents);
  }

  BufferPool::Hooks hooks() {
    return {.allocate = [this](uint64_t size) { return allocate(size); },
            .free = [this](const Buffer& buffer) { free(buffer); },
            .completed = [this] { return completed.load(); }};
  }

 private:
  Buffer allocate(uint64_t size) {
    const std::lock_guard lock(mutex);
    ++attempts;
    if (size > capacity - bytes) return {};
    bytes += size;
    // Sizes are only counted: a byte is enough to have an address.
    void* contents = std::malloc(1);
    live.insert(contents);
    return {contents, size, nullptr};
  }
  void free(const Buffer& buffer) {
    const std::lock_guard lock(mutex);
    ASSERT_EQ(live.erase(buffer.contents), 1u) << "freed twice";
    freed.push_back(buffer.contents);
    bytes -= buffer.size;
    std::free(buffer.contents);
  }
};

TEST(SizeClassTest, Edges) {
  EXPECT_EQ(BufferPool::size_class(0), 4096u);
  EXPECT_EQ(BufferPool::size_class(1), 4096u);
  EXPECT_EQ(BufferPool::size_class(4096), 4096u);
  EXPECT_EQ(BufferPool::size_class(4097), 5120u);
  EXPECT_EQ(BufferPool::size_class(5120), 5120u);
  EXPECT_EQ(BufferPool::size_class(5121), 6144u);
  EXPECT_EQ(BufferPool::size_class(7169), 8192u);
  EXPECT_EQ(BufferPool::size_class(8192), 8192u);
  EXPECT_EQ(BufferPool::size_class(8193), 10240u);
  EXPECT_EQ(BufferPool::size_class(uint64_t{5} << 32), uint64_t{5} << 32);
  EXPECT_EQ(BufferPool::size_class((uint64_t{5} << 32) + 1), uint64_t{6} << 32);
  EXPECT_EQ(BufferPool::size_class(uint64_t{7} << 61), uint64_t{7} << 61);
  EXPECT_EQ(BufferPool::size_class((uint64_t{7} << 61) + 1), UINT64_MAX);
  EXPECT_EQ(BufferPool::size_class(UINT64_MAX), UINT64_MAX);
}

TEST(SizeClassTest, CoversTheRequestAndWastesAtMostAQuarter) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const uint64_t size = random() >> (2 + random() % 50);
    const uint64_t rounded = BufferPool::size_class(size);
    ASSERT_GE(rounded, size);
    ASSERT_EQ(BufferPool::size_class(rounded), rounded);
    if (size > 4096) {
      ASSERT_LE(rounded - size, size / 4) << size;
    }
  }
}

TEST(BufferPoolTest, ReusesAReleasedBufferOfTheSameClass) {
  FakeHeap heap;
  BufferPool pool(heap.hooks(), kNoLimit);
  const Buffer first = pool.acquire(5000);
  EXPECT_EQ(first.size, 5120u);
  pool.release(first, 0);
  const Buffer second = pool.acquire(5100);
  EXPECT_EQ(second.contents, first.contents);
  const Buffer other = pool.acquire(6000);
  EXPECT_NE(other.contents, first.contents);
  EXPECT_EQ(pool.statistics().allocations, 2u);
  EXPECT_EQ(pool.statistics().reuses, 1u);
}

TEST(BufferPoolTest, ReusesOnlyAfterCompletion) {
  FakeHeap heap;
  BufferPool pool(heap.hooks(), kNoLimit);
  const Buffer first = pool.acquire(4096);
  pool.release(first, 7);
  heap.completed = 6;
  const Buffer second = pool.acquire(4096);
  EXPECT_NE(second.contents, first.contents);
  heap.completed = 7;
  EXPECT_EQ(pool.acquire(4096).contents, first.contents);
}

TEST(BufferPoolTest, TicketsOutOfOrderDoNotHoldEachOtherBack) {
  FakeHeap heap;
  BufferPool pool(heap.hooks(), kNoLimit);
  const Buffer late = pool.acquire(4096);
  const Buffer early = pool.acquire(4096);
  pool.release(late, 9);
  pool.release(early, 2);
  heap.completed = 3;
  EXPECT_EQ(pool.acquire(4096).contents, early.contents);
  EXPECT_NE(pool.acquire(4096).contents, late.contents);
}

TEST(BufferPoolTest, DoubleReleaseThrows) {
  FakeHeap heap;
  BufferPool pool(heap.hooks(), kNoLimit);
  const Buffer buffer = pool.acquire(4096);
  pool.release(buffer, 0);
  const std::string text = test::thrown_text<ValueError>([&] { pool.release(buffer, 0); });
  EXPECT_NE(text.find("not released yet"), std::string::npos) << text;
  EXPECT_EQ(pool.statistics().bytes_cached, 4096u);
  int foreign = 0;
  EXPECT_THROW(pool.release({&foreign, 4096, nullptr}, 0), ValueError);
  EXPECT_THROW(pool.release({}, 0), ValueError);
  EXPECT_FALSE(pool.try_release(buffer, 0));
}

TEST(BufferPoolTest, ReleaseBelievesItsOwnRecordOfTheSize) {
  FakeHeap heap;
  BufferPool pool(heap.hooks(), kNoLimit);
  Buffer buffer = pool.acquire(4096);
  buffer.size = 1 << 20;
  pool.release(buffer, 0);
  EXPECT_EQ(pool.statistics().bytes_cached, 4096u);
  EXPECT_EQ(pool.acquire(4096).size, 4096u);
}

TEST(BufferPoolTest, Statistics) {
  FakeHeap heap;
  BufferPool pool(heap.hooks(), 123456);
  const Buffer a = pool.acquire(4096);
  const Buffer b = pool.acquire(8192);
  pool.release(a, 5);
  const PoolStatistics now = pool.statistics();
  EXPECT_EQ(now.bytes_in_use, 8192u);
  EXPECT_EQ(now.bytes_cached, 4096u);
  EXPECT_EQ(now.peak_bytes_in_use, 12288u);
  EXPECT_EQ(now.limit_bytes, 123456u);
  EXPECT_EQ(now.allocations, 2u);
  EXPECT_EQ(now.reuses, 0u);
  pool.release(b, 5);
}

TEST(BufferPoolTest, TrimFreesWhatHasFinishedAndNothingElse) {
  FakeHeap heap;
  BufferPool pool(heap.hooks(), kNoLimit);
  const Buffer finished = pool.acquire(4096);
  const Buffer running = pool.acquire(4096);
  const Buffer held = pool.acquire(4096);
  pool.release(finished, 1);
  pool.release(running, 2);
  heap.completed = 1;
  pool.trim();
  EXPECT_EQ(heap.live, (std::set<void*>{running.contents, held.contents}));
  EXPECT_EQ(pool.statistics().bytes_cached, 4096u);
  heap.completed = 2;
  pool.trim();
  EXPECT_EQ(heap.live, std::set<void*>{held.contents});
  EXPECT_EQ(pool.statistics().bytes_cached, 0u);
}

TEST(BufferPoolTest, LimitFreesTheOldestFirst) {
  FakeHeap heap;
  BufferPool pool(heap.hooks(), 3 * 4096);
  const Buffer a = pool.acquire(4096);
  const Buffer b = pool.acquire(8192);
  const Buffer c = pool.acquire(4096);
  pool.release(a, 0);
  pool.release(b, 0);
  EXPECT_TRUE(heap.freed.empty());
  pool.release(c, 0);
  EXPECT_EQ(heap.freed, std::vector<void*>{a.contents});
  EXPECT_EQ(pool.statistics().bytes_cached, 3u * 4096);
  pool.set_limit(4096);
  EXPECT_EQ(heap.freed, (std::vector<void*>{a.contents, b.contents}));
  pool.set_limit(0);
  EXPECT_EQ(pool.statistics().bytes_cached, 0u);
  EXPECT_TRUE(heap.live.empty());
}

TEST(BufferPoolTest, BufferAboveTheLimitDoesNotPushOthersOut) {
  FakeHeap heap;
  BufferPool pool(heap.hooks(), 8192);
  const Buffer small = pool.acquire(4096);
  const Buffer large = pool.acquire(65536);
  pool.release(small, 0);
  pool.release(large, 0);
  EXPECT_EQ(heap.freed, std::vector<void*>{large.contents});
  EXPECT_EQ(pool.acquire(4096).contents, small.contents);
}

TEST(BufferPoolTest, LimitWaitsForRunningCommands) {
  FakeHeap heap;
  BufferPool pool(heap.hooks(), 0);
  const Buffer buffer = pool.acquire(4096);
  pool.release(buffer, 1);
  EXPECT_EQ(pool.statistics().bytes_cached, 4096u);
  EXPECT_TRUE(heap.freed.empty());
  heap.completed = 1;
  const Buffer next = pool.acquire(4096);
  EXPECT_EQ(heap.freed, std::vector<void*>{buffer.contents});
  pool.release(next, 1);
}

TEST(BufferPoolTest, ShortMemoryTrimsTheCacheAndTriesAgain) {
  FakeHeap heap;
  heap.capacity = 16384;
  BufferPool pool(heap.hooks(), kNoLimit);
  pool.release(pool.acquire(12288), 0);
  const Buffer buffer = pool.acquire(16384);
  EXPECT_EQ(buffer.size, 16384u);
  EXPECT_EQ(heap.attempts, 3);
  EXPECT_EQ(pool.statistics().bytes_cached, 0u);
}

TEST(BufferPoolTest, NoMemoryThrowsAndLeavesThePoolUsable) {
  FakeHeap heap;
  heap.capacity = 16384;
  BufferPool pool(heap.hooks(), kNoLimit);
  const Buffer held = pool.acquire(8192);
  const PoolStatistics before = pool.statistics();
  EXPECT_EQ(test::thrown_text<MemoryError>([&] { pool.acquire(12288); }),
            "allocate: no memory for 12288 bytes beside the 8192 bytes in use");
  EXPECT_THROW(pool.acquire(UINT64_MAX), MemoryError);
  EXPECT_EQ(pool.statistics().bytes_in_use, before.bytes_in_use);
  EXPECT_EQ(pool.statistics().allocations, before.allocations);
  pool.release(held, 0);
  EXPECT_EQ(pool.acquire(8192).contents, held.contents);
}

TEST(BufferPoolTest, ShortMemoryDoesNotTakeBuffersOfRunningCommands) {
  FakeHeap heap;
  heap.capacity = 8192;
  BufferPool pool(heap.hooks(), kNoLimit);
  const Buffer running = pool.acquire(8192);
  pool.release(running, 1);
  EXPECT_THROW(pool.acquire(8192), MemoryError);
  EXPECT_EQ(heap.live.count(running.contents), 1u);
  heap.completed = 1;
  EXPECT_EQ(pool.acquire(8192).contents, running.contents);
}

TEST(BufferPoolTest, CountsBytesPast32Bits) {
  FakeHeap heap;
  BufferPool pool(heap.hooks(), kNoLimit);
  const uint64_t size = uint64_t{5} << 40;
  const Buffer a = pool.acquire(size);
  const Buffer b = pool.acquire(size);
  EXPECT_EQ(a.size, size);
  EXPECT_EQ(pool.statistics().peak_bytes_in_use, 2 * size);
  pool.release(a, 0);
  pool.release(b, 0);
  EXPECT_EQ(pool.statistics().bytes_cached, 2 * size);
}

TEST(BufferPoolTest, DestructorFreesCachedPendingAndHeldBuffers) {
  FakeHeap heap;
  {
    BufferPool pool(heap.hooks(), kNoLimit);
    pool.acquire(4096);
    pool.release(pool.acquire(4096), 0);
    pool.release(pool.acquire(8192), 99);
  }
  EXPECT_EQ(heap.freed.size(), 3u);
  EXPECT_EQ(heap.bytes, 0u);
}

TEST(BufferPoolTest, ThreadsNeverShareABuffer) {
  FakeHeap heap;
  BufferPool pool(heap.hooks(), 64 * 4096);
  std::mutex mutex;
  std::set<void*> held;
  std::atomic<int> shared{0};
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937 random(seed);
      for (int i = 0; i < 2000; ++i) {
        const Buffer buffer = pool.acquire(4096 * (1 + random() % 3));
        {
          const std::lock_guard lock(mutex);
          if (!held.insert(buffer.contents).second) ++shared;
        }
        {
          const std::lock_guard lock(mutex);
          held.erase(buffer.contents);
        }
        pool.release(buffer, static_cast<uint64_t>(i));
        heap.completed = static_cast<uint64_t>(i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(shared, 0);
  EXPECT_EQ(pool.statistics().bytes_in_use, 0u);
  EXPECT_EQ(pool.statistics().allocations + pool.statistics().reuses, 8000u);
}

TEST(BufferPoolTest, ChildOfForkNeverInheritsALockedPool) {
  METALHEAD_SKIP_WHERE_CHILDREN_INHERIT_LOCKS();
  BufferPool pool({.allocate = [](uint64_t size) { return Buffer{std::malloc(size), size, nullptr}; },
                   .free = [](const Buffer& buffer) { std::free(buffer.contents); },
                   .completed = [] { return UINT64_MAX; }},
                  kNoLimit);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) pool.release(pool.acquire(4096), 0);
  });
  int succeeded = 0;
  for (int i = 0; i < 50; ++i) {
    succeeded += test::succeeds_in_child([&] {
      const Buffer buffer = pool.acquire(4096);
      pool.release(buffer, 0);
      return true;
    });
  }
  stop = true;
  busy.join();
  EXPECT_EQ(succeeded, 50);
}

}  // namespace
}  // namespace metalhead
