// A gate that idle workers watch: it opens with each launch, and the caller waits only for workers that went
// in.
#include "devices/cpu/thread_pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/fork.h"
#include "core/settings.h"
#include "devices/cpu/machine.h"

namespace metalhead::cpu {
namespace {

/// How long a thread watches before it sleeps: longer than the pause between two launches of one forward
/// pass.
constexpr std::chrono::microseconds kSpinTime{40};

/// Chunks a thread gets at most on average: more would only add traffic on the counter.
constexpr uint64_t kChunksPerThread = 64;

/// The gate's word: workers inside, a bit that says whether more may enter, and the number of the launch.
constexpr uint64_t kInsideMask = 0xffff;
constexpr uint64_t kOpen = 0x10000;
constexpr int kNumberShift = 17;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

/// Watches until `done()` or until `time` has passed; returns `done()`.
template <class Done>
bool spin_until(std::chrono::microseconds time, Done done) {
  if (done()) return true;
  if (time.count() == 0) return false;
  const auto deadline = std::chrono::steady_clock::now() + time;
  do {
    for (int i = 0; i < 16; ++i) {
      pause_briefly();
      if (done()) return true;
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

Scratch& scratch_of_calling_thread() {
  thread_local Scratch scratch;
  return scratch;
}

void name_calling_thread() {
#ifdef __APPLE__
  pthread_setname_np("metalhead");
#else
  pthread_setname_np(pthread_self(), "metalhead");
#endif
}

/// While it lives, signals of the process go to other threads than this one and those it starts.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGPROF}) sigdelset(&all, fault);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

ForkSafeLazy<int> machine_cpus(cpu::usable_cpus);

}  // namespace

struct ThreadPool::State {
  explicit State(int threads, State* ancestor)
      : size(threads),
        // Watching threads would take the CPUs from working ones if there are more threads than CPUs.
        spin_time(threads <= machine_cpus.get() ? kSpinTime : std::chrono::microseconds{0}),
        made_at_fork(fork_count()),
        before_fork(ancestor) {}
  ~State() { stop_workers(); }

  void start_workers();
  void stop_workers();
  void work();
  bool wait_for_launch(uint64_t seen);
  bool enter(uint64_t& seen);
  void leave();
  void take_chunks(Scratch& scratch) noexcept;
  void open_gate();
  void close_gate();
  void wake(uint64_t wanted);

  const int size;
  const std::chrono::microseconds spin_time;
  const uint64_t made_at_fork;
  State* const before_fork;  ///< of the parent process: no use here, kept so that it counts as reachable

  std::mutex run_mutex;  ///< held by the thread whose launch is running

  // The launch; written while the gate is closed and empty.
  KernelFunction function = nullptr;
  const Launch* launch = nullptr;
  uint64_t groups = 0;
  uint64_t chunk = 1;
  std::atomic<bool> failed{false};
  std::exception_ptr error;  ///< written by the one thread that set `failed`

  alignas(64) std::atomic<uint64_t> next_group{0};
  alignas(64) std::atomic<uint64_t> gate{0};
  std::atomic<int> sleepers{0};
  std::atomic<bool> caller_sleeps{false};
  std::atomic<bool> stopping{false};

  std::mutex sleep_mutex;
  std::condition_variable launch_came;
  std::condition_variable workers_left;
  std::vector<std::thread> workers;  ///< guarded by run_mutex
};

void ThreadPool::State::start_workers() {
  const size_t wanted = static_cast<size_t>(size) - 1;
  if (workers.size() == wanted) return;
  const SignalsBlocked signals_blocked;
  workers.reserve(wanted);
  try {
    while (workers.size() < wanted) workers.emplace_back([this] { work(); });
  } catch (const std::system_error& refused) {
    throw DeviceError(concat("cpu: could not start thread ", workers.size() + 1, " of ", size, " (",
                             refused.what(),
                             "); fewer can be asked for by threads or METALHEAD_NUM_THREADS"));
  }
}

void ThreadPool::State::stop_workers() {
  stopping.store(true);
  {
    const std::lock_guard lock(sleep_mutex);
  }
  launch_came.notify_all();
  for (std::thread& worker : workers) worker.join();
}

void ThreadPool::State::work() {
  name_calling_thread();
  Scratch scratch;
  uint64_t seen = 0;
  while (wait_for_launch(seen)) {
    if (!enter(seen)) continue;
    // Sleepers are woken two by each that wakes: no thread pays for waking all.
    if (next_group.load(std::memory_order_relaxed) < groups) wake(2);
    take_chunks(scratch);
    leave();
  }
}

/// Returns true when there is a launch after number `seen`, false when the pool ends.
bool ThreadPool::State::wait_for_launch(uint64_t seen) {
  const auto came = [this, seen] {
    return (gate.load() >> kNumberShift) != seen || stopping.load(std::memory_order_relaxed);
  };
  if (!spin_until(spin_time, came)) {
    std::unique_lock lock(sleep_mutex);
    sleepers.fetch_add(1);
    launch_came.wait(lock, came);
    sleepers.fetch_sub(1);
  }
  return !stopping.load();
}

bool ThreadPool::State::enter(uint64_t& seen) {
  uint64_t word = gate.load();
  do {
    seen = word >> kNumberShift;
    if ((word & kOpen) == 0) return false;
  } while (!gate.compare_exchange_weak(word, word + 1));
  return true;
}

void ThreadPool::State::leave() {
  const uint64_t word = gate.fetch_sub(1) - 1;
  if ((word & (kOpen | kInsideMask)) == 0 && caller_sleeps.load()) {
    {
      const std::lock_guard lock(sleep_mutex);
    }
    workers_left.notify_one();
  }
}

void ThreadPool::State::take_chunks(Scratch& scratch) noexcept {
  scratch.begin_launch();
  while (true) {
    const uint64_t begin = next_group.fetch_add(chunk, std::memory_order_relaxed);
    if (begin >= groups) return;
    try {
      function(*launch, begin, std::min(begin + chunk, groups), scratch);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
      next_group.store(groups, std::memory_order_relaxed);
    }
  }
}

void ThreadPool::State::open_gate() {
  const uint64_t number = (gate.load(std::memory_order_relaxed) >> kNumberShift) + 1;
  gate.store(number << kNumberShift | kOpen);
  const uint64_t watching = workers.size() - static_cast<size_t>(sleepers.load());
  const uint64_t useful = std::min<uint64_t>((groups + chunk - 1) / chunk - 1, workers.size());
  if (useful > watching) wake(std::min<uint64_t>(useful - watching, 2));
}

void ThreadPool::State::wake(uint64_t wanted) {
  if (sleepers.load() == 0) return;
  // A worker counts as sleeping before it looks at the gate for the last time: the lock makes it look or
  // wait.
  {
    const std::lock_guard lock(sleep_mutex);
  }
  for (uint64_t i = 0; i < wanted; ++i) launch_came.notify_one();
}

/// Lets no more workers in; returns when those inside have left.
void ThreadPool::State::close_gate() {
  gate.fetch_and(~kOpen);
  const auto empty = [this] { return (gate.load() & kInsideMask) == 0; };
  if (spin_until(spin_time, empty)) return;
  std::unique_lock lock(sleep_mutex);
  caller_sleeps.store(true);
  workers_left.wait(lock, empty);
  caller_sleeps.store(false);
}

ThreadPool::ThreadPool(int threads)
    : size_(std::clamp(threads, 1, kMaxThreads)), state_(new State(size_, nullptr)) {}

ThreadPool::~ThreadPool() {
  State* const state = state_.load();
  // After a fork the threads to wait for are not there, and the locks may be held for ever.
  if (state->made_at_fork == fork_count()) delete state;
}

int ThreadPool::usable_cpus() { return cpu::usable_cpus(); }

ThreadPool::State& ThreadPool::state() {
  State* current = state_.load(std::memory_order_acquire);
  if (current->made_at_fork == fork_count()) return *current;
  auto renewed = std::make_unique<State>(size_, current);
  if (state_.compare_exchange_strong(current, renewed.get(), std::memory_order_acq_rel))
    return *renewed.release();
  return *current;
}

void ThreadPool::start() {
  State& pool = state();
  const std::lock_guard lock(pool.run_mutex);
  pool.start_workers();
}

void ThreadPool::run(KernelFunction function, const Launch& launch) {
  const uint64_t groups = launch.grid.count();
  if (size_ == 1 || groups <= 1) return run_on_caller(function, launch);
  State& pool = state();
  // Callers queue up: each launch gets all threads, so several take no longer than side by side on too few
  // CPUs, and a long one that comes late is not left to a single thread.
  const std::lock_guard lock(pool.run_mutex);
  pool.start_workers();
  pool.function = function;
  pool.launch = &launch;
  pool.groups = groups;
  pool.chunk = std::max<uint64_t>(1, groups / (static_cast<uint64_t>(size_) * kChunksPerThread));
  pool.failed.store(false, std::memory_order_relaxed);
  pool.next_group.store(0, std::memory_order_relaxed);
  pool.open_gate();
  pool.take_chunks(scratch_of_calling_thread());
  pool.close_gate();
  if (pool.failed.load()) std::rethrow_exception(std::exchange(pool.error, nullptr));
}

void ThreadPool::run_on_caller(KernelFunction function, const Launch& launch) {
  if (const uint64_t groups = launch.grid.count(); groups > 0) {
    Scratch& scratch = scratch_of_calling_thread();
    scratch.begin_launch();
    function(launch, 0, groups, scratch);
  }
}

}  // namespace metalhead::cpu
