// Turns a code address into the shader line it came from.
#pragma once

#include <string>

namespace metalhead::simt {

/// Returns "file:line" of the innermost shader line inlined at a code address, or the image and offset where
/// the symbolizer is not installed.
std::string shader_line(const void* pc);

}  // namespace metalhead::simt
