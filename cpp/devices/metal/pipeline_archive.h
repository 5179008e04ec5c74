// Keeps compiled pipelines in the user's cache folder, so that a second process starts quickly.
#pragma once

#import <Metal/Metal.h>

#include <set>
#include <string>
#include <vector>

#include "devices/metal/pipeline_key.h"

namespace metalhead::metal {

/// Best effort: a folder that cannot be written or a file of another system costs time, never correctness.
class PipelineArchive {
 public:
  /// `folder` empty switches it off; `fingerprint` tells shaders and GPUs apart.
  PipelineArchive(id<MTLDevice> device, const std::string& folder, uint64_t fingerprint);

  /// Lets Metal look the pipeline up in the archive.
  void attach_to(MTLComputePipelineDescriptor* descriptor) const;

  /// Notes a pipeline that was made; `save` writes it if it is a fresh one.
  void note(const PipelineKey& key, MTLComputePipelineDescriptor* descriptor);

  /// Writes the archive and the list of its keys, if there is something that the files do not hold yet.
  void save();

  /// Pipelines that earlier processes used.
  const std::vector<PipelineKey>& known() const { return known_; }

  /// For people: the file, or why there is none.
  std::string description() const;

 private:
  void load();
  void load_list();
  bool write_list() const;

  id<MTLDevice> device_;
  id<MTLBinaryArchive> archive_;
  std::string path_;
  std::string problem_;
  std::set<std::string> lines_;
  std::vector<PipelineKey> known_;
  std::vector<MTLComputePipelineDescriptor*> unsaved_;
};

/// The folder for cached files: METALHEAD_CACHE_DIR, else `metalhead` in the user's cache folder; empty if
/// unknown.
std::string default_cache_folder();

}  // namespace metalhead::metal
