// Errors are noted inside autorelease pools and thrown after them: an exception would leave a pool undrained.
#include "devices/metal/pipeline_cache.h"

#include "core/error.h"
#include "devices/metal/fingerprint.h"
#include "devices/metal/objc_text.h"

namespace metalhead::metal {

PipelineCache::PipelineCache(id<MTLDevice> device, const std::string& gpu_name,
                             const std::string& library_path, const std::string& cache_folder)
    : device_(device),
      library_(device, library_path),
      archive_(device, cache_folder, fingerprint_of(gpu_name, library_.fingerprint())) {}

PipelineCache::~PipelineCache() { save(); }

id<MTLComputePipelineState> PipelineCache::get(const Launch& launch) {
  const uint64_t hash = pattern_hash(launch);
  std::string error;
  {
    const std::lock_guard lock(mutex_);
    const auto [first, last] = by_launch_.equal_range(hash);
    for (auto entry = first; entry != last; ++entry) {
      if (entry->second.pattern.matches(launch)) return entry->second.pipeline;
    }
    const PipelineKey key = pipeline_key(launch);
    id<MTLComputePipelineState> pipeline = nil;
    @autoreleasepool {
      pipeline = pipeline_for(key, &error);
    }
    if (pipeline != nil) {
      by_launch_.emplace(hash, Entry{LaunchPattern(launch), pipeline});
      return pipeline;
    }
  }
  throw KernelError(error);
}

id<MTLComputePipelineState> PipelineCache::pipeline_for(const PipelineKey& key, std::string* error) {
  const std::string line = to_line(key);
  const auto known = by_line_.find(line);
  if (known != by_line_.end()) return known->second;
  id<MTLComputePipelineState> pipeline = make(key, error);
  if (pipeline != nil) by_line_[line] = pipeline;
  return pipeline;
}

id<MTLComputePipelineState> PipelineCache::make(const PipelineKey& key, std::string* error) {
  id<MTLFunction> function = library_.function(key.kernel, key.name, key.constants, error);
  if (function == nil) {
    *error = concat("metal: kernel ", key.name, " is missing or cannot be specialised: ", *error);
    return nil;
  }
  MTLComputePipelineDescriptor* descriptor = [MTLComputePipelineDescriptor new];
  descriptor.label = to_ns(key.name);
  descriptor.computeFunction = function;
  archive_.attach_to(descriptor);
  NSError* reason = nil;
  id<MTLComputePipelineState> pipeline = [device_ newComputePipelineStateWithDescriptor:descriptor
                                                                                options:MTLPipelineOptionNone
                                                                             reflection:nil
                                                                                  error:&reason];
  if (pipeline == nil) {
    *error = concat("metal: no pipeline for kernel ", key.name, ": ", text_of(reason));
    return nil;
  }
  archive_.note(key, descriptor);
  return pipeline;
}

void PipelineCache::warm_up() {
  const std::lock_guard lock(mutex_);
  @autoreleasepool {
    std::string error;
    for (const PipelineKey& key : archive_.known()) pipeline_for(key, &error);
  }
}

void PipelineCache::save() {
  const std::lock_guard lock(mutex_);
  @autoreleasepool {
    archive_.save();
  }
}

std::string PipelineCache::archive_description() const {
  const std::lock_guard lock(mutex_);
  return archive_.description();
}

size_t PipelineCache::size() const {
  const std::lock_guard lock(mutex_);
  return by_line_.size();
}

}  // namespace metalhead::metal
