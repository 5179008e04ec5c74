// Parses the environment strictly: a value that is not understood is an error, never ignored.
#include "core/settings.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "core/fork.h"

namespace metalhead {
namespace {

constexpr int64_t kMaxPoolLimitMegabytes = int64_t{1} << 42;
constexpr uint64_t kBytesOfMegabyte = uint64_t{1} << 20;

[[noreturn]] void throw_malformed(const char* variable, const std::string& rule, std::string_view text) {
  throw ValueError(concat(variable, " must be ", rule, ", got '", text, "'"));
}

std::optional<std::string> read_text(const char* variable, const char* rule) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return std::nullopt;
  if (*text == '\0') throw_malformed(variable, rule, text);
  return text;
}

std::optional<int64_t> read_integer(const char* variable, int64_t lowest, int64_t highest) {
  const std::string rule = concat("an integer from ", lowest, " to ", highest);
  const std::optional<std::string> text = read_text(variable, rule.c_str());
  if (!text) return std::nullopt;
  int64_t value = 0;
  const char* end = text->data() + text->size();
  const auto [parsed_to, error] = std::from_chars(text->data(), end, value);
  if (error != std::errc() || parsed_to != end || value < lowest || value > highest) {
    throw_malformed(variable, rule, *text);
  }
  return value;
}

ForkSafeLazy<Settings> settings_of_program(read_settings);

}  // namespace

Settings read_settings() {
  Settings settings;
  if (const auto threads = read_integer("METALHEAD_NUM_THREADS", 1, kMaxThreads)) {
    settings.threads = static_cast<int>(*threads);
  }
  if (const auto megabytes = read_integer("METALHEAD_POOL_LIMIT_MB", 0, kMaxPoolLimitMegabytes)) {
    settings.pool_limit_bytes = static_cast<uint64_t>(*megabytes) * kBytesOfMegabyte;
  }
  settings.instruction_set = read_text("METALHEAD_CPU_ISA", "the name of an instruction set");
  settings.default_device = read_text("METALHEAD_DEVICE", "the name of a device");
  settings.cache_folder = read_text("METALHEAD_CACHE_DIR", "a folder");
  return settings;
}

const Settings& settings() { return settings_of_program.get(); }

}  // namespace metalhead
