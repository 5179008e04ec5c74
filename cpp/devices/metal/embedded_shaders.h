// The shader sources that the build put into the library, for builds without a Metal toolchain.
#pragma once

#include <span>

namespace metalhead::metal {

/// One .metal file with its project includes written out.
struct EmbeddedShader {
  const char* name;
  const char* source;
};

/// Empty if the build made a metallib.
std::span<const EmbeddedShader> embedded_shaders();

}  // namespace metalhead::metal
