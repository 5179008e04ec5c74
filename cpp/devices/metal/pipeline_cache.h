// Compiled kernels by launch: found without an allocation, compiled once.
#pragma once

#import <Metal/Metal.h>

#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "devices/metal/pipeline_archive.h"
#include "devices/metal/pipeline_key.h"
#include "devices/metal/shader_library.h"

namespace metalhead::metal {

/// Thread-safe. Two threads that need the same new pipeline wait for one compilation.
class PipelineCache {
 public:
  /// `gpu_name` keeps the cached pipelines of different GPUs apart.
  PipelineCache(id<MTLDevice> device, const std::string& gpu_name, const std::string& library_path,
                const std::string& cache_folder);
  ~PipelineCache();
  PipelineCache(const PipelineCache&) = delete;
  PipelineCache& operator=(const PipelineCache&) = delete;

  /// The pipeline of the launch; throws KernelError with the driver's text if it cannot be made.
  id<MTLComputePipelineState> get(const Launch& launch) __attribute__((ns_returns_retained));

  /// Makes every pipeline that earlier processes used; those that fail are left for the launch that needs
  /// them.
  void warm_up();

  /// Writes fresh pipelines to the user's cache folder.
  void save();

  std::string library_description() const { return library_.description(); }
  std::string archive_description() const;
  size_t size() const;

 private:
  struct Entry {
    LaunchPattern pattern;
    id<MTLComputePipelineState> pipeline;
  };

  id<MTLComputePipelineState> make(const PipelineKey& key, std::string* error);
  id<MTLComputePipelineState> pipeline_for(const PipelineKey& key, std::string* error);

  mutable std::mutex mutex_;
  id<MTLDevice> device_;
  ShaderLibrary library_;
  PipelineArchive archive_;
  std::unordered_multimap<uint64_t, Entry> by_launch_;
  std::unordered_map<std::string, id<MTLComputePipelineState>> by_line_;
};

}  // namespace metalhead::metal
