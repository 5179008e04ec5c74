// How launches, host names of kernels and lines of the known-pipelines file correspond.
#include "devices/metal/pipeline_key.h"

#include <sstream>

#include "devices/metal/fingerprint.h"
#include "devices/metal/head_dim_variants.h"
#include "devices/metal/kernel_names.h"
#include "params/function_constants.h"

namespace metalhead::metal {

static_assert(static_cast<int>(DType::kFloat32) == kTypeFloat32 &&
              static_cast<int>(DType::kFloat16) == kTypeFloat16 &&
              static_cast<int>(DType::kBFloat16) == kTypeBFloat16 &&
              static_cast<int>(DType::kUInt8) == kTypeUInt8);

PipelineKey pipeline_key(const Launch& launch) {
  PipelineKey key{launch.kernel, launch.kernel, launch.constants};
  const KernelNameRule* rule = name_rule_of(key.kernel);
  for (int i = 0; i < launch.dtype_count; ++i) {
    const DType dtype = launch.dtypes[static_cast<size_t>(i)];
    if (rule != nullptr) key.constants.set_uint(kConstantDType0 + i, static_cast<uint32_t>(dtype));
    if (rule != nullptr && (rule->named_dtypes >> i & 1) == 0) continue;
    key.name += '_';
    key.name += name_of(dtype);
  }
  key.name +=
      head_dim_suffix(key.kernel, launch.constants[kConstantHeadDim], launch.constants[kConstantValueDim]);
  return key;
}

std::string to_line(const PipelineKey& key) {
  std::ostringstream line;
  line << key.kernel << ' ' << key.name << ' ' << key.constants.set_mask << ' ' << key.constants.bool_mask;
  for (uint32_t value : key.constants.values) line << ' ' << value;
  return line.str();
}

std::optional<PipelineKey> key_from_line(const std::string& line) {
  std::istringstream text(line);
  PipelineKey key;
  text >> key.kernel >> key.name >> key.constants.set_mask >> key.constants.bool_mask;
  for (uint32_t& value : key.constants.values) text >> value;
  std::string rest;
  if (!text || text >> rest) return std::nullopt;
  return key;
}

LaunchPattern::LaunchPattern(const Launch& launch)
    : kernel(launch.kernel),
      dtypes(launch.dtypes),
      dtype_count(launch.dtype_count),
      constants(launch.constants) {}

bool LaunchPattern::matches(const Launch& launch) const {
  return kernel == launch.kernel && dtype_count == launch.dtype_count && dtypes == launch.dtypes &&
         constants == launch.constants;
}

uint64_t pattern_hash(const Launch& launch) {
  const auto bytes = [](const auto& object) {
    return std::string_view(reinterpret_cast<const char*>(&object), sizeof(object));
  };
  uint64_t hash = fingerprint_of(launch.kernel);
  hash = fingerprint_of(bytes(launch.dtypes), hash);
  hash = fingerprint_of(bytes(launch.constants.set_mask), hash);
  return fingerprint_of(bytes(launch.constants.values), hash);
}

}  // namespace metalhead::metal
