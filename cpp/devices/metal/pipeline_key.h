// Names a specialised kernel: what the cache looks up, and what a list of known pipelines keeps.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/launch.h"

namespace metalhead::metal {

/// The kernel's base name, the host name of its instantiation, and its function constants.
struct PipelineKey {
  std::string kernel;
  std::string name;
  FunctionConstants constants;

  bool operator==(const PipelineKey&) const = default;
};

/// `kernel`, `_` and the name of each dtype that kernel_names.h asks for, then the head size suffix where the
/// kernel has one.
PipelineKey pipeline_key(const Launch& launch);

/// One line of text for the key, and back; nullopt for text that no key gives.
std::string to_line(const PipelineKey& key);
std::optional<PipelineKey> key_from_line(const std::string& line);

/// True if the launch needs the pipeline that an earlier launch with these parts needed.
struct LaunchPattern {
  std::string kernel;
  std::array<DType, kMaxKernelDTypes> dtypes{};
  int dtype_count = 0;
  FunctionConstants constants;

  explicit LaunchPattern(const Launch& launch);
  bool matches(const Launch& launch) const;
};

/// Equal for launches that match the same pattern; allocates nothing.
uint64_t pattern_hash(const Launch& launch);

}  // namespace metalhead::metal
