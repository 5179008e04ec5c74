// A build with a metallib embeds no sources.
#include "devices/metal/embedded_shaders.h"

namespace metalhead::metal {

std::span<const EmbeddedShader> embedded_shaders() { return {}; }

}  // namespace metalhead::metal
