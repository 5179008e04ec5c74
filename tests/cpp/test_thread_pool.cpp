// Tests of the thread pool: every group once, errors carried, callers from many threads, and fork.
#include "devices/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "child_process.h"
#include "core/error.h"

namespace metalhead::cpu {
namespace {

using Body = std::function<void(uint64_t begin, uint64_t end, Scratch& scratch)>;

struct BodyParams {
  const Body* body;
};

void run_body(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch) {
  (*launch.params<BodyParams>().body)(begin, end, scratch);
}

void run(ThreadPool& pool, Size3 grid, const Body& body) {
  Launch launch;
  launch.grid = grid;
  launch.set_params(BodyParams{&body});
  pool.run(run_body, launch);
}

/// Waits for something that other threads do; false after 20 seconds.
template <class Done>
bool wait_for(Done done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

bool runs_every_group_once(ThreadPool& pool, uint32_t groups) {
  std::vector<std::atomic<int>> times(groups);
  run(pool, {groups, 1, 1}, [&](uint64_t begin, uint64_t end, Scratch&) {
    for (uint64_t group = begin; group < end; ++group) ++times[group];
  });
  for (const std::atomic<int>& count : times) {
    if (count != 1) return false;
  }
  return true;
}

/// True if every thread of the pool takes a group while the others are in theirs; then all have started.
bool all_threads_run(ThreadPool& pool) {
  const uint32_t threads = static_cast<uint32_t>(pool.size());
  std::atomic<uint32_t> arrived{0}, met{0};
  run(pool, {threads, 1, 1}, [&](uint64_t, uint64_t, Scratch&) {
    ++arrived;
    met += wait_for([&] { return arrived == threads; });
  });
  return met == threads;
}

TEST(ThreadPoolTest, RunsEveryGroupOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (const uint32_t groups : {0u, 1u, 2u, 3u, 7u, 64u, 1000u, 100003u}) {
      EXPECT_TRUE(runs_every_group_once(pool, groups)) << threads << " threads, " << groups << " groups";
    }
  }
}

TEST(ThreadPoolTest, ManyShortRunsInARow) {
  ThreadPool pool(4);
  for (uint32_t i = 0; i < 3000; ++i) ASSERT_TRUE(runs_every_group_once(pool, 2 + i % 7)) << i;
}

TEST(ThreadPoolTest, ThreadsWakeAfterSleep) {
  ThreadPool pool(3);
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    ASSERT_TRUE(runs_every_group_once(pool, 20));
  }
}

TEST(ThreadPoolTest, AllThreadsWorkAtTheSameTime) {
  ThreadPool pool(4);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(all_threads_run(pool)) << i;
}

TEST(ThreadPoolTest, OneThreadMeansTheCaller) {
  ThreadPool pool(1);
  std::set<std::thread::id> threads;
  run(pool, {50, 1, 1}, [&](uint64_t, uint64_t, Scratch&) { threads.insert(std::this_thread::get_id()); });
  EXPECT_EQ(threads, std::set{std::this_thread::get_id()});
}

TEST(ThreadPoolTest, RunOnCallerStaysOnTheCaller) {
  const Body body = [caller = std::this_thread::get_id()](uint64_t begin, uint64_t end, Scratch&) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    EXPECT_EQ(begin, 0u);
    EXPECT_EQ(end, 60u);
  };
  Launch launch;
  launch.grid = {3, 4, 5};
  launch.set_params(BodyParams{&body});
  ThreadPool::run_on_caller(run_body, launch);
  const Body never = [](uint64_t, uint64_t, Scratch&) { FAIL() << "no groups, no call"; };
  launch.grid = {3, 0, 5};
  launch.set_params(BodyParams{&never});
  ThreadPool::run_on_caller(run_body, launch);
}

TEST(ThreadPoolTest, HandsOutSingleGroupsInAscendingOrder) {
  ThreadPool pool(2);
  std::mutex mutex;
  std::map<std::thread::id, std::vector<uint64_t>> groups;
  run(pool, {100, 1, 1}, [&](uint64_t begin, uint64_t end, Scratch&) {
    EXPECT_EQ(end, begin + 1);
    const std::lock_guard lock(mutex);
    groups[std::this_thread::get_id()].push_back(begin);
  });
  for (const auto& [thread, list] : groups) EXPECT_TRUE(std::is_sorted(list.begin(), list.end()));
}

TEST(ThreadPoolTest, CountsGroupsPast32Bits) {
  ThreadPool pool(3);
  std::atomic<uint64_t> total{0};
  std::atomic<uint64_t> highest{0};
  std::atomic<int> calls{0};
  run(pool, {70001, 70001, 2}, [&](uint64_t begin, uint64_t end, Scratch&) {
    total += end - begin;
    ++calls;
    for (uint64_t seen = highest; seen < end && !highest.compare_exchange_weak(seen, end);) {
    }
  });
  EXPECT_EQ(total, uint64_t{70001} * 70001 * 2);
  EXPECT_EQ(highest, total);
  EXPECT_LT(calls, 1000);
}

TEST(ThreadPoolTest, ErrorOfAWorkerReachesTheCaller) {
  ThreadPool pool(2);
  for (int i = 0; i < 20; ++i) {
    const auto caller = std::this_thread::get_id();
    std::atomic<bool> thrown{false};
    try {
      run(pool, {2, 1, 1}, [&](uint64_t, uint64_t, Scratch&) {
        if (std::this_thread::get_id() == caller) {
          EXPECT_TRUE(wait_for([&] { return thrown.load(); }));
          return;
        }
        thrown = true;
        throw KernelError("a worker's error");
      });
      FAIL() << "the error was lost";
    } catch (const KernelError& error) {
      EXPECT_STREQ(error.what(), "a worker's error");
    }
    EXPECT_TRUE(runs_every_group_once(pool, 30));
  }
}

TEST(ThreadPoolTest, ErrorOfTheCallerWaitsForTheWorkers) {
  ThreadPool pool(2);
  const auto caller = std::this_thread::get_id();
  std::atomic<int> inside{0};
  EXPECT_THROW(run(pool, {2, 1, 1},
                   [&](uint64_t, uint64_t, Scratch&) {
                     ++inside;
                     EXPECT_TRUE(wait_for([&] { return inside == 2; }));
                     if (std::this_thread::get_id() == caller) throw ValueError("the caller's error");
                     std::this_thread::sleep_for(std::chrono::milliseconds(20));
                     inside = 100;
                   }),
               ValueError);
  EXPECT_EQ(inside, 100);
}

TEST(ThreadPoolTest, AfterAnErrorNoMoreGroupsStart) {
  ThreadPool pool(2);
  std::atomic<int> started{0};
  EXPECT_THROW(run(pool, {128, 1, 1},
                   [&](uint64_t, uint64_t, Scratch&) {
                     ++started;
                     throw std::runtime_error("first");
                   }),
               std::runtime_error);
  EXPECT_LE(started, 2);
}

TEST(ThreadPoolTest, FourCallersAtOnceQueueUp) {
  ThreadPool pool(3);
  std::atomic<int> current{-1};
  std::atomic<int> mixed{0};
  std::atomic<uint64_t> total{0};
  std::vector<std::thread> callers;
  for (int id = 0; id < 4; ++id) {
    callers.emplace_back([&, id] {
      for (int i = 0; i < 50; ++i) {
        std::atomic<int> remaining{9};
        run(pool, {9, 1, 1}, [&](uint64_t begin, uint64_t end, Scratch&) {
          const int other = current.exchange(id);
          if (other != id && other != -1) ++mixed;
          std::this_thread::sleep_for(std::chrono::microseconds(20));
          total += end - begin;
          if (--remaining == 0) current = -1;
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total, 4u * 50 * 9);
  EXPECT_EQ(mixed, 0) << "groups of two launches ran at the same time";
}

TEST(ThreadPoolTest, EndsCleanlyWhateverWasRun) {
  for (int i = 0; i < 50; ++i) {
    ThreadPool unused(4);
    ThreadPool started(4);
    started.start();
    ThreadPool used(4);
    EXPECT_TRUE(runs_every_group_once(used, 5));
  }
}

TEST(ThreadPoolTest, ChildOfForkStartsItsOwnThreads) {
  METALHEAD_SKIP_WHERE_FORK_IS_UNSUPPORTED();
  ThreadPool pool(3);
  const auto works = [&] { return all_threads_run(pool); };
  EXPECT_TRUE(works());
  EXPECT_TRUE(test::succeeds_in_child([&] { return works() && test::succeeds_in_child(works); }));
  EXPECT_TRUE(works());
}

TEST(ThreadPoolTest, ForkWhileAnotherThreadRuns) {
  METALHEAD_SKIP_WHERE_CHILDREN_INHERIT_LOCKS();
  ThreadPool pool(3);
  std::atomic<bool> stop{false};
  std::atomic<bool> correct{true};
  std::thread busy([&] {
    while (!stop) {
      if (!runs_every_group_once(pool, 300)) correct = false;
    }
  });
  int succeeded = 0;
  for (int i = 0; i < 50; ++i)
    succeeded += test::succeeds_in_child([&] { return runs_every_group_once(pool, 100); });
  stop = true;
  busy.join();
  EXPECT_EQ(succeeded, 50);
  EXPECT_TRUE(correct);
}

TEST(ThreadPoolTest, PoolOfTheParentEndsInTheChild) {
  METALHEAD_SKIP_WHERE_FORK_IS_UNSUPPORTED();
  auto pool = std::make_unique<ThreadPool>(3);
  EXPECT_TRUE(all_threads_run(*pool));
  EXPECT_TRUE(test::succeeds_in_child([&] {
    pool.reset();
    return true;
  }));
}

TEST(ScratchTest, IsAlignedAndKeepsItsSize) {
  Scratch scratch;
  const auto address = [](std::byte* data) { return reinterpret_cast<uintptr_t>(data); };
  std::byte* const small = scratch.reserve(10);
  EXPECT_EQ(address(small) % 64, 0u);
  EXPECT_EQ(scratch.reserve(4096), small);
  std::byte* const large = scratch.reserve(size_t{9} << 20);
  EXPECT_EQ(address(large) % (2 << 20), 0u);
  large[(size_t{9} << 20) - 1] = std::byte{1};
  EXPECT_EQ(scratch.reserve(10), large);
  EXPECT_NE(scratch.reserve(0), nullptr);
}

TEST(ScratchTest, NoMemoryThrowsAndLeavesItUsable) {
  Scratch scratch;
  scratch.reserve(100);
  EXPECT_THROW(scratch.reserve(SIZE_MAX - 100), MemoryError);
  scratch.reserve(100)[99] = std::byte{1};
}

TEST(ScratchTest, KeepsContentsToTheEndOfALaunch) {
  ThreadPool pool(2);
  for (int launch = 0; launch < 20; ++launch) {
    std::mutex mutex;
    std::map<std::thread::id, int> chunks;
    const Body count_chunks = [&](uint64_t, uint64_t, Scratch& scratch) {
      const std::lock_guard lock(mutex);
      int& expected = chunks[std::this_thread::get_id()];
      EXPECT_EQ(scratch.goes_on(), expected > 0);
      auto* const count = reinterpret_cast<int*>(scratch.reserve(1000));
      if (expected == 0) *count = 0;
      EXPECT_EQ(++*count, ++expected);
    };
    run(pool, {100, 1, 1}, count_chunks);
    EXPECT_FALSE(chunks.empty());
    Launch alone;
    alone.set_params(BodyParams{&count_chunks});
    chunks.clear();
    ThreadPool::run_on_caller(run_body, alone);
    EXPECT_EQ(chunks.size(), 1u);
  }
}

TEST(ScratchTest, EveryThreadHasItsOwn) {
  ThreadPool pool(3);
  std::mutex mutex;
  std::set<std::byte*> blocks;
  std::atomic<int> arrived{0};
  run(pool, {3, 1, 1}, [&](uint64_t, uint64_t, Scratch& scratch) {
    std::byte* const block = scratch.reserve(1000);
    {
      const std::lock_guard lock(mutex);
      blocks.insert(block);
    }
    ++arrived;
    EXPECT_TRUE(wait_for([&] { return arrived == 3; }));
  });
  EXPECT_EQ(blocks.size(), 3u);
}

}  // namespace
}  // namespace metalhead::cpu
