// The list of fork-safe mutexes, locked by fork as a whole.
#include "core/fork.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace metalhead {
namespace {

struct ForkState {
  std::mutex list_mutex;
  std::vector<ForkSafeMutex*> list;
  std::atomic<uint64_t> fork_count{0};
};

ForkState& fork_state();

bool try_lock_all(ForkState& state) {
  for (size_t i = 0; i < state.list.size(); ++i) {
    if (state.list[i]->try_lock()) continue;
    while (i-- > 0) state.list[i]->unlock();
    return false;
  }
  return true;
}

void before_fork() {
  ForkState& state = fork_state();
  // All or none: a thread that holds one of them may be about to register another.
  while (true) {
    state.list_mutex.lock();
    if (try_lock_all(state)) return;
    state.list_mutex.unlock();
    std::this_thread::yield();
  }
}

void after_fork_in_parent() {
  ForkState& state = fork_state();
  for (ForkSafeMutex* mutex : state.list) mutex->unlock();
  state.list_mutex.unlock();
}

void after_fork_in_child() {
  fork_state().fork_count.fetch_add(1, std::memory_order_relaxed);
  after_fork_in_parent();
}

ForkState& fork_state() {
  // Never destroyed: mutexes of other static objects unregister after main.
  static ForkState& state = []() -> ForkState& {
    auto* made = new ForkState;
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    return *made;
  }();
  return state;
}

}  // namespace

ForkSafeMutex::ForkSafeMutex() {
  ForkState& state = fork_state();
  const std::lock_guard lock(state.list_mutex);
  state.list.push_back(this);
}

ForkSafeMutex::~ForkSafeMutex() {
  ForkState& state = fork_state();
  const std::lock_guard lock(state.list_mutex);
  state.list.erase(std::find(state.list.begin(), state.list.end(), this));
}

uint64_t fork_count() { return fork_state().fork_count.load(std::memory_order_relaxed); }

}  // namespace metalhead
