// Asks llvm-symbolizer; only errors need it.
#include "symbolize.h"

#include <dlfcn.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <vector>

namespace metalhead::simt {
namespace {

std::vector<std::string> output_lines(const std::string& command) {
  std::vector<std::string> lines;
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  if (!pipe) return lines;
  std::array<char, 1024> buffer;
  while (std::fgets(buffer.data(), buffer.size(), pipe.get()) != nullptr) {
    std::string line = buffer.data();
    while (!line.empty() && line.back() == '\n') line.pop_back();
    lines.push_back(line);
  }
  return lines;
}

bool is_shim(std::string_view file) {
  return file.find("/sim/metal/") != file.npos || file.starts_with("sim/metal/") || file.starts_with("??");
}

// "path:line:column" to "path:line", without a leading "./".
std::string without_column(std::string place) {
  place.resize(place.rfind(':'));
  return place.starts_with("./") ? place.substr(2) : place;
}

}  // namespace

std::string shader_line(const void* pc) {
  Dl_info image{};
  if (pc == nullptr || dladdr(pc, &image) == 0) return "an unknown place";
  const auto offset =
      reinterpret_cast<std::uintptr_t>(pc) - reinterpret_cast<std::uintptr_t>(image.dli_fbase) - 1;
  std::array<char, 32> hex;
  std::snprintf(hex.data(), hex.size(), "0x%zx", static_cast<std::size_t>(offset));
  const char* tool = std::getenv("METALHEAD_LLVM_SYMBOLIZER");
  const std::string command = std::string(tool != nullptr ? tool : "llvm-symbolizer-19") +
                              " --functions=none --inlines --relativenames --obj='" + image.dli_fname + "' " +
                              hex.data() + " 2>/dev/null";
  for (const std::string& line : output_lines(command))
    if (!line.empty() && !is_shim(line) && line.find(':') != line.npos) return without_column(line);
  return std::string(image.dli_fname) + "+" + hex.data();
}

}  // namespace metalhead::simt
