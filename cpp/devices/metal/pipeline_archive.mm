// The binary archive and, beside it, the list of pipelines it holds, which Metal cannot enumerate.
#include "devices/metal/pipeline_archive.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/settings.h"
#include "devices/metal/objc_text.h"

namespace metalhead::metal {
namespace {

namespace files = std::filesystem;

/// Moves a finished file over the old one, so that a reader never sees half of it.
bool replace_file(const std::string& from, const std::string& to) {
  std::error_code failure;
  files::rename(from, to, failure);
  if (failure) files::remove(from, failure);
  return !failure;
}

std::string temporary_name(const std::string& path) { return concat(path, ".", getpid()); }

}  // namespace

std::string default_cache_folder() {
  if (settings().cache_folder) return *settings().cache_folder;
  const passwd* user = getpwuid(getuid());
  if (user == nullptr || user->pw_dir == nullptr) return "";
#ifdef __APPLE__
  return std::string(user->pw_dir) + "/Library/Caches/metalhead";
#else
  return std::string(user->pw_dir) + "/.cache/metalhead";
#endif
}

PipelineArchive::PipelineArchive(id<MTLDevice> device, const std::string& folder, uint64_t fingerprint)
    : device_(device) {
  if (folder.empty()) {
    problem_ = "no cache folder";
    return;
  }
  std::error_code failure;
  files::create_directories(folder, failure);
  if (failure) {
    problem_ = folder + ": " + failure.message();
    return;
  }
  char name[64];
  std::snprintf(name, sizeof name, "/pipelines-%016llx", static_cast<unsigned long long>(fingerprint));
  path_ = folder + name;
  @autoreleasepool {
    load();
  }
}

void PipelineArchive::load() {
  MTLBinaryArchiveDescriptor* descriptor = [MTLBinaryArchiveDescriptor new];
  NSError* reason = nil;
  if (files::exists(path_ + ".archive")) {
    descriptor.url = file_url(path_ + ".archive");
    archive_ = [device_ newBinaryArchiveWithDescriptor:descriptor error:&reason];
    if (archive_ != nil) return load_list();
    // Written by another system version or cut short: start again.
    descriptor.url = nil;
  }
  archive_ = [device_ newBinaryArchiveWithDescriptor:descriptor error:&reason];
  if (archive_ == nil) problem_ = text_of(reason);
}

void PipelineArchive::load_list() {
  std::ifstream list(path_ + ".list");
  std::string line;
  while (std::getline(list, line)) {
    const std::optional<PipelineKey> key = key_from_line(line);
    if (key && lines_.insert(line).second) known_.push_back(*key);
  }
}

void PipelineArchive::attach_to(MTLComputePipelineDescriptor* descriptor) const {
  if (archive_ != nil) descriptor.binaryArchives = @[ archive_ ];
}

void PipelineArchive::note(const PipelineKey& key, MTLComputePipelineDescriptor* descriptor) {
  if (archive_ != nil && lines_.insert(to_line(key)).second) unsaved_.push_back(descriptor);
}

bool PipelineArchive::write_list() const {
  const std::string temporary = temporary_name(path_ + ".list");
  std::ofstream list(temporary);
  for (const std::string& line : lines_) list << line << '\n';
  list.close();
  return list.good() && replace_file(temporary, path_ + ".list");
}

void PipelineArchive::save() {
  if (unsaved_.empty()) return;
  NSError* reason = nil;
  for (MTLComputePipelineDescriptor* descriptor : unsaved_) {
    descriptor.binaryArchives = nil;
    [archive_ addComputePipelineFunctionsWithDescriptor:descriptor error:&reason];
  }
  unsaved_.clear();
  const std::string temporary = temporary_name(path_ + ".archive");
  if (![archive_ serializeToURL:file_url(temporary) error:&reason]) {
    problem_ = text_of(reason);
  } else if (!replace_file(temporary, path_ + ".archive") || !write_list()) {
    problem_ = path_ + ": cannot be written";
  }
}

std::string PipelineArchive::description() const {
  return problem_.empty() ? path_ + ".archive" : "none (" + problem_ + ")";
}

}  // namespace metalhead::metal
