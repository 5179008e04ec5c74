// The Metal device: checks launches, hands them to the encoder, and turns driver errors into the library's
// own.
#include "devices/metal/metal_device.h"

#import <Metal/Metal.h>

#include <atomic>
#include <mutex>

#include "core/error.h"
#include "core/fork.h"
#include "core/settings.h"
#include "devices/metal/command_encoder.h"
#include "devices/metal/gpu_cores.h"
#include "devices/metal/metal_memory.h"
#include "devices/metal/pipeline_cache.h"
#include "devices/metal/tuning.h"

#if !__has_feature(objc_arc)
#error "this file needs -fobjc-arc"
#endif

namespace metalhead {
namespace metal {
namespace {

/// One more than the fork count under which this process or an ancestor first used the GPU; 0 if none did.
std::atomic<uint64_t> first_use{0};

bool is_inherited() {
  const uint64_t used = first_use.load(std::memory_order_relaxed);
  return used != 0 && used != fork_count() + 1;
}

[[noreturn]] void throw_forked() {
  throw DeviceError(
      "metal: this process was forked from one that had used the GPU, which Metal does not allow; "
      "start processes with the 'spawn' method");
}

bool is_usable(id<MTLDevice> device) {
  return device != nil && device.hasUnifiedMemory && [device supportsFamily:MTLGPUFamilyApple7];
}

/// A command-line program may get no default device, hence the list first.
id<MTLDevice> find_device() {
  NSArray<id<MTLDevice>>* devices = MTLCopyAllDevices();
  for (NSUInteger i = 0; i < devices.count; ++i) {
    if (is_usable(devices[i])) return devices[i];
  }
  id<MTLDevice> preferred = MTLCreateSystemDefaultDevice();
  return is_usable(preferred) ? preferred : nil;
}

/// The objects that everything else is made from.
struct Gpu {
  id<MTLDevice> device;
  id<MTLCommandQueue> queue;
  id<MTLFence> fence;
};

Gpu open_gpu() {
  if (is_inherited()) throw_forked();
  Gpu gpu;
  @autoreleasepool {
    gpu.device = find_device();
    gpu.queue = [gpu.device newCommandQueue];
    gpu.queue.label = @"metalhead";
    gpu.fence = [gpu.device newFence];
  }
  if (gpu.device == nil) {
    throw DeviceError("metal: this machine has no Apple GPU of family Apple7 (M1) or later");
  }
  if (gpu.queue == nil || gpu.fence == nil)
    throw DeviceError("metal: the driver gave no command queue or fence");
  first_use.store(fork_count() + 1, std::memory_order_relaxed);
  return gpu;
}

std::string name_of_gpu(id<MTLDevice> device) {
  @autoreleasepool {
    return device.name.UTF8String;
  }
}

DeviceLimits limits_of(id<MTLDevice> device) {
  DeviceLimits limits;
  @autoreleasepool {
    limits.lanes = 32;
    limits.max_threads_per_threadgroup = static_cast<uint32_t>(device.maxThreadsPerThreadgroup.width);
    limits.threadgroup_memory = static_cast<uint32_t>(device.maxThreadgroupMemoryLength);
    limits.compute_units = gpu_cores(device.name.UTF8String);
    limits.max_buffer_bytes = device.maxBufferLength;
  }
  limits.prefill_query_rows = kPrefillQueryRows;
  limits.min_keys_per_split = kMinKeysPerSplit;
  return limits;
}

uint64_t default_pool_limit(id<MTLDevice> device) {
  @autoreleasepool {
    return settings().pool_limit_bytes.value_or(device.recommendedMaxWorkingSetSize / 4);
  }
}

class MetalDevice final : public Device {
 public:
  explicit MetalDevice(const MetalOptions& options)
      : gpu_(open_gpu()),
        gpu_name_(name_of_gpu(gpu_.device)),
        limits_(limits_of(gpu_.device)),
        pipelines_(gpu_.device, gpu_name_, options.library_path.value_or(ShaderLibrary::default_path()),
                   options.cache_folder ? *options.cache_folder : default_cache_folder()),
        memory_(gpu_.device, gpu_.queue),
        encoder_(gpu_.queue, gpu_.fence,
                 {options.launches_per_command_buffer, options.bytes_per_command_buffer}),
        pool_(pool_hooks(), default_pool_limit(gpu_.device)) {}

  ~MetalDevice() override {
    const std::lock_guard lock(mutex_);
    encoder_.commit();
    encoder_.completion()->wait_for(encoder_.newest_ticket());
    for (const auto& [ticket, buffer] : wrapped_done_) memory_.free(buffer);
    for (const auto& [handle, buffer] : wrapped_) memory_.free(buffer);
  }

  const std::string& name() const override { return name_; }
  const DeviceLimits& limits() const override { return limits_; }
  bool reads_host_memory() const override { return false; }
  DeviceInfo info() const override;

  Buffer allocate(uint64_t size) override;
  void release(const Buffer& buffer) noexcept override;
  Buffer wrap(void* data, uint64_t size) override;
  void launch(const Launch& launch) override;
  void wait() override;
  void warm_up() override;

  PoolStatistics pool_statistics() const override { return pool_.statistics(); }
  void set_pool_limit(uint64_t bytes) override {
    if (!is_inherited()) pool_.set_limit(bytes);
  }
  void trim_pool() override {
    if (!is_inherited()) pool_.trim();
  }

 private:
  BufferPool::Hooks pool_hooks();
  void check_launch(const Launch& launch, id<MTLComputePipelineState> pipeline) const;
  void free_finished_wrapped();

  const std::string name_ = "metal";
  Gpu gpu_;
  std::string gpu_name_;
  DeviceLimits limits_;
  PipelineCache pipelines_;
  MetalMemory memory_;
  mutable std::mutex mutex_;  ///< of the encoder and the lists of wrapped buffers
  CommandEncoder encoder_;
  std::map<void*, Buffer> wrapped_;               ///< by handle, while a caller holds it
  std::multimap<uint64_t, Buffer> wrapped_done_;  ///< by ticket, until that has completed
  BufferPool pool_;
};

BufferPool::Hooks MetalDevice::pool_hooks() {
  return {.allocate = [this](uint64_t size) { return memory_.allocate(size); },
          .free = [this](const Buffer& buffer) { memory_.free(buffer); },
          .completed = [completion = encoder_.completion()] { return completion->completed(); }};
}

Buffer MetalDevice::allocate(uint64_t size) {
  if (is_inherited()) throw_forked();
  if (size > limits_.max_buffer_bytes) {
    throw MemoryError(
        concat("metal: one buffer may have at most ", limits_.max_buffer_bytes, " bytes, got ", size));
  }
  return pool_.acquire(size);
}

void MetalDevice::release(const Buffer& buffer) noexcept {
  // A child process must leave the parent's objects alone.
  if (is_inherited()) return;
  const std::lock_guard lock(mutex_);
  const auto found = wrapped_.find(buffer.handle);
  if (found == wrapped_.end()) {
    pool_.try_release(buffer, encoder_.newest_ticket());
    return;
  }
  wrapped_done_.emplace(encoder_.newest_ticket(), found->second);
  wrapped_.erase(found);
  free_finished_wrapped();
}

Buffer MetalDevice::wrap(void* data, uint64_t size) {
  if (is_inherited()) throw_forked();
  const Buffer buffer = memory_.wrap(data, size);
  if (buffer.handle == nullptr) return {};
  const std::lock_guard lock(mutex_);
  wrapped_.emplace(buffer.handle, buffer);
  return buffer;
}

void MetalDevice::free_finished_wrapped() {
  const uint64_t completed = encoder_.completion()->completed();
  const auto last = wrapped_done_.upper_bound(completed);
  for (auto entry = wrapped_done_.begin(); entry != last; ++entry) memory_.free(entry->second);
  wrapped_done_.erase(wrapped_done_.begin(), last);
}

void MetalDevice::check_launch(const Launch& launch, id<MTLComputePipelineState> pipeline) const {
  const uint64_t threads = launch.threads.count();
  if (threads == 0 || threads > pipeline.maxTotalThreadsPerThreadgroup) {
    throw KernelError(concat("metal: ", launch.kernel, " allows from 1 to ",
                             pipeline.maxTotalThreadsPerThreadgroup, " threads in a threadgroup, got ",
                             threads));
  }
  if (launch.grid.count() == 0)
    throw KernelError(concat("metal: ", launch.kernel, " needs at least one threadgroup, got 0"));
  const uint64_t bytes = launch.threadgroup_bytes + pipeline.staticThreadgroupMemoryLength;
  if (bytes > limits_.threadgroup_memory) {
    throw KernelError(concat("metal: ", launch.kernel, " may use at most ", limits_.threadgroup_memory,
                             " bytes of threadgroup memory, got ", bytes));
  }
  for (const BufferBinding& binding : launch.buffers) {
    if (binding.bound() && binding.buffer.handle == nullptr) {
      throw DeviceError(concat("metal: ", launch.kernel, " needs buffers of this device, got host memory"));
    }
  }
}

void MetalDevice::launch(const Launch& launch) {
  if (is_inherited()) throw_forked();
  id<MTLComputePipelineState> pipeline = pipelines_.get(launch);
  check_launch(launch, pipeline);
  const std::lock_guard lock(mutex_);
  encoder_.encode(launch, pipeline);
}

void MetalDevice::wait() {
  if (is_inherited()) throw_forked();
  uint64_t ticket = 0;
  @autoreleasepool {
    id<MTLCommandBuffer> last = nil;
    {
      const std::lock_guard lock(mutex_);
      encoder_.commit();
      last = encoder_.last_committed();
      ticket = encoder_.newest_ticket();
    }
    // Other threads may launch meanwhile.
    [last waitUntilCompleted];
  }
  encoder_.completion()->wait_for(ticket);
  {
    const std::lock_guard lock(mutex_);
    free_finished_wrapped();
  }
  if (const std::string error = encoder_.completion()->take_error(); !error.empty()) throw DeviceError(error);
  pipelines_.save();
}

void MetalDevice::warm_up() {
  if (is_inherited()) throw_forked();
  pipelines_.warm_up();
}

DeviceInfo MetalDevice::info() const {
  const Completion::Times times = encoder_.completion()->times();
  return {{"name", name_},
          {"gpu", gpu_name_},
#ifdef METALHEAD_SIMULATED_METAL
          {"simulated", "yes: the kernels run on the CPU, for development only"},
#endif
          {"cores", std::to_string(limits_.compute_units)},
          {"shaders", pipelines_.library_description()},
          {"pipelines", std::to_string(pipelines_.size())},
          {"pipeline archive", pipelines_.archive_description()},
          {"residency set", memory_.has_residency_set() ? "yes" : "no"},
          {"pool limit", concat(pool_statistics().limit_bytes >> 20, " MiB")},
          {"command buffers", std::to_string(times.command_buffers)},
          {"gpu milliseconds", std::to_string(times.total_seconds * 1e3)},
          {"gpu milliseconds of the last command buffer", std::to_string(times.last_seconds * 1e3)}};
}

}  // namespace
}  // namespace metal

bool metal_device_available() {
  if (metal::is_inherited()) return false;
  @autoreleasepool {
    return metal::find_device() != nil;
  }
}

std::unique_ptr<Device> make_metal_device() { return make_metal_device(MetalOptions{}); }

std::unique_ptr<Device> make_metal_device(const MetalOptions& options) {
  return std::make_unique<metal::MetalDevice>(options);
}

}  // namespace metalhead
