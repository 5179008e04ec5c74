// A 64-bit number for a text, to tell cached files of different shaders and GPUs apart.
#pragma once

#include <cstdint>
#include <string_view>

namespace metalhead::metal {

/// FNV-1a over the bytes, continued from `before`.
constexpr uint64_t fingerprint_of(std::string_view text, uint64_t before = 0) {
  uint64_t hash = before ^ 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

}  // namespace metalhead::metal
