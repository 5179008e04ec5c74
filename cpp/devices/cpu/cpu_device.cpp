// Launches run before the call returns; memory is the host's own.
#include "devices/cpu/cpu_device.h"

#include <algorithm>

#include "core/error.h"
#include "core/settings.h"
#include "devices/cpu/function_cache.h"
#include "devices/cpu/machine.h"
#include "devices/cpu/memory.h"
#include "devices/cpu/thread_pool.h"

namespace metalhead::cpu {
namespace {

// Rows that share one packed tile of keys in sdpa: a power of two, as prompts and groups of heads often are,
// so that blocks of rows come out even.
constexpr uint32_t kPrefillQueryRows = 512;

/// Multiply-adds below which the calling thread does all, about 20 microseconds of work. Measured, two
/// threads gain from 20,000 on where calls follow each other at once, from 110,000 in calls 50 microseconds
/// apart, and from 400,000 if the other one sleeps.
constexpr uint64_t kMinCostToShare = 100'000;

uint64_t default_pool_limit() {
  constexpr uint64_t kSmallestLimit = uint64_t{64} << 20;
  return settings().pool_limit_bytes.value_or(std::max(physical_memory() / 8, kSmallestLimit));
}

BufferPool::Hooks host_memory_hooks() {
  return {.allocate = [](uint64_t size) { return Buffer{allocate_memory(size), size, nullptr}; },
          .free = [](const Buffer& buffer) { free_memory(buffer.contents, buffer.size); },
          .completed = [] { return UINT64_MAX; }};
}

class CpuDevice final : public Device {
 public:
  CpuDevice(const KernelTable& kernels, int threads)
      : kernels_(kernels),
        functions_(kernels),
        threads_(threads),
        pool_(host_memory_hooks(), default_pool_limit()) {
    limits_.compute_units = static_cast<uint32_t>(threads_.size());
    limits_.prefill_query_rows = kPrefillQueryRows;
    limits_.max_buffer_bytes = static_cast<uint64_t>(PTRDIFF_MAX);
  }

  const std::string& name() const override { return name_; }
  const DeviceLimits& limits() const override { return limits_; }
  bool reads_host_memory() const override { return true; }

  DeviceInfo info() const override {
    return {{"name", name_},
            {"model", cpu_model()},
            {"threads", std::to_string(threads_.size())},
            {"instruction_set", std::string(kernels_.instruction_set)},
            {"instruction_sets", available_instruction_sets()},
            {"pool_limit", concat(pool_statistics().limit_bytes >> 20, " MiB")}};
  }

  Buffer allocate(uint64_t size) override { return pool_.acquire(size); }
  void release(const Buffer& buffer) noexcept override {
    // A buffer of `wrap` is not the pool's, and there is nothing to do for it.
    pool_.try_release(buffer, 0);
  }
  Buffer wrap(void* data, uint64_t size) override { return {data, size, nullptr}; }

  void launch(const Launch& launch) override {
    const KernelFunction function = functions_.find(launch.kernel);
    if (launch.cost < kMinCostToShare) {
      ThreadPool::run_on_caller(function, launch);
    } else {
      threads_.run(function, launch);
    }
  }
  void wait() override {}
  void warm_up() override { threads_.start(); }

  PoolStatistics pool_statistics() const override { return pool_.statistics(); }
  void set_pool_limit(uint64_t bytes) override { pool_.set_limit(bytes); }
  void trim_pool() override { pool_.trim(); }

 private:
  const std::string name_ = "cpu";
  DeviceLimits limits_;
  const KernelTable& kernels_;
  FunctionCache functions_;
  ThreadPool threads_;
  BufferPool pool_;
};

/// The table that settings ask for, with the variable's name in the error.
std::string instruction_set_of_settings() {
  const std::string wanted = settings().instruction_set.value_or("");
  try {
    return std::string(select_kernel_table(wanted).instruction_set);
  } catch (const DeviceError& error) {
    if (wanted.empty()) throw;
    throw DeviceError(concat("METALHEAD_CPU_ISA: ", error.what()));
  }
}

}  // namespace

CpuOptions resolve(const CpuOptions& options) {
  if (options.threads > kMaxThreads) {
    throw ValueError(concat("cpu: threads must be at most ", kMaxThreads, ", got ", options.threads));
  }
  CpuOptions chosen = options;
  if (chosen.threads < 1) {
    chosen.threads = settings().threads.value_or(std::min(usable_cpus(), kMaxThreads));
  }
  chosen.instruction_set = options.instruction_set.empty()
                               ? instruction_set_of_settings()
                               : std::string(select_kernel_table(options.instruction_set).instruction_set);
  return chosen;
}

std::unique_ptr<Device> make_cpu_device(const CpuOptions& options) {
  const CpuOptions chosen = resolve(options);
  return std::make_unique<CpuDevice>(select_kernel_table(chosen.instruction_set), chosen.threads);
}

std::unique_ptr<Device> make_cpu_device(const KernelTable& kernels, int threads) {
  return std::make_unique<CpuDevice>(kernels, threads);
}

}  // namespace metalhead::cpu
