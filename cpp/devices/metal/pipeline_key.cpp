// How launches, host names of kernels and lines of the known-pipelines file correspond.
#include "devices/metal/pipeline_key.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "core/error.h"
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
  std::string line =
      concat(key.kernel, ' ', key.name, ' ', key.constants.set_mask, ' ', key.constants.bool_mask);
  for (uint32_t value : key.constants.values) line += concat(' ', value);
  return line;
}

namespace {

/// Cuts the next word off the text; empty at its end.
std::string_view next_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(word.size());
  return word;
}

bool read_number(std::string_view& text, uint32_t& value) {
  const std::string_view word = next_word(text);
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  return error == std::errc() && end == word.data() + word.size();
}

}  // namespace

std::optional<PipelineKey> key_from_line(const std::string& line) {
  std::string_view text = line;
  PipelineKey key;
  key.kernel = next_word(text);
  key.name = next_word(text);
  bool complete = !key.name.empty() && read_number(text, key.constants.set_mask) &&
                  read_number(text, key.constants.bool_mask);
  for (uint32_t& value : key.constants.values) complete = complete && read_number(text, value);
  if (!complete || !next_word(text).empty()) return std::nullopt;
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
