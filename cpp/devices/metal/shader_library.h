// Finds the compiled kernels: in the metallib beside the extension, else by compiling the embedded sources.
#pragma once

#import <Metal/Metal.h>

#include <map>
#include <string>

#include "core/launch.h"

namespace metalhead::metal {

/// Not thread-safe: the pipeline cache calls it under its own lock.
class ShaderLibrary {
 public:
  /// `path` is the metallib; a missing file is no error as long as sources are embedded.
  ShaderLibrary(id<MTLDevice> device, std::string path);

  /// The specialised function, or nil and the reason in `error`.
  id<MTLFunction> function(const std::string& kernel, const std::string& name,
                           const FunctionConstants& constants, std::string* error);

  /// For people: `metallib <path>` or `embedded sources`.
  std::string description() const;

  /// A number that changes with the shaders.
  uint64_t fingerprint() const { return fingerprint_; }

  /// `metalhead.metallib` in the folder of the binary that holds this code.
  static std::string default_path();

 private:
  bool compile(const char* name, const char* source, std::string* error);

  id<MTLDevice> device_;
  id<MTLLibrary> file_library_;
  std::map<std::string, id<MTLLibrary>> source_libraries_;  ///< by the name of the .metal file
  std::string path_;
  std::string file_error_;
  uint64_t fingerprint_ = 0;
};

}  // namespace metalhead::metal
