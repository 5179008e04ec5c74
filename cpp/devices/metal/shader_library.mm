// Loading and compiling of shader libraries; nothing here throws, because callers hold autorelease pools.
#include "devices/metal/shader_library.h"

#include <dlfcn.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "devices/metal/embedded_shaders.h"
#include "devices/metal/fingerprint.h"
#include "devices/metal/objc_text.h"

namespace metalhead::metal {
namespace {

MTLFunctionConstantValues* constant_values(const FunctionConstants& constants) {
  MTLFunctionConstantValues* values = [MTLFunctionConstantValues new];
  for (int index = 0; index < kMaxFunctionConstants; ++index) {
    const uint32_t bit = 1u << index;
    if ((constants.set_mask & bit) == 0) continue;
    const uint32_t number = constants[index];
    const bool truth = number != 0;
    if ((constants.bool_mask & bit) != 0) {
      [values setConstantValue:&truth type:MTLDataTypeBool atIndex:static_cast<NSUInteger>(index)];
    } else {
      [values setConstantValue:&number type:MTLDataTypeUInt atIndex:static_cast<NSUInteger>(index)];
    }
  }
  return values;
}

id<MTLFunction> specialized(id<MTLLibrary> library, const std::string& name,
                            const FunctionConstants& constants, std::string* error) {
  NSError* reason = nil;
  id<MTLFunction> function = [library newFunctionWithName:to_ns(name)
                                           constantValues:constant_values(constants)
                                                    error:&reason];
  if (function == nil) *error = text_of(reason);
  return function;
}

}  // namespace

std::string ShaderLibrary::default_path() {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&ShaderLibrary::default_path), &info) == 0)
    return "metalhead.metallib";
  const std::string binary = info.dli_fname;
  const size_t slash = binary.rfind('/');
  return (slash == std::string::npos ? "" : binary.substr(0, slash + 1)) + "metalhead.metallib";
}

ShaderLibrary::ShaderLibrary(id<MTLDevice> device, std::string path)
    : device_(device), path_(std::move(path)) {
  std::ifstream file(path_, std::ios::binary);
  if (file) {
    const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    fingerprint_ = fingerprint_of(bytes, fingerprint_);
    @autoreleasepool {
      NSError* reason = nil;
      file_library_ = [device_ newLibraryWithURL:file_url(path_) error:&reason];
      if (file_library_ == nil) file_error_ = text_of(reason);
      file_library_.label = @"metalhead";
    }
  } else {
    file_error_ = "the file is missing";
  }
  if (file_library_ != nil) return;
  for (const EmbeddedShader& shader : embedded_shaders())
    fingerprint_ = fingerprint_of(shader.source, fingerprint_);
}

bool ShaderLibrary::compile(const char* name, const char* source, std::string* error) {
  MTLCompileOptions* options = [MTLCompileOptions new];
  options.languageVersion = MTLLanguageVersion3_1;
  // Masks and empty rows rely on infinities, which fast math may assume away.
  options.fastMathEnabled = NO;
  NSError* reason = nil;
  id<MTLLibrary> library = [device_ newLibraryWithSource:to_ns(source) options:options error:&reason];
  if (library == nil) {
    *error = concat(name, " does not compile: ", text_of(reason));
    return false;
  }
  library.label = to_ns(name);
  source_libraries_[name] = library;
  return true;
}

id<MTLFunction> ShaderLibrary::function(const std::string& kernel, const std::string& name,
                                        const FunctionConstants& constants, std::string* error) {
  if (file_library_ != nil) return specialized(file_library_, name, constants, error);
  if (embedded_shaders().empty()) {
    *error = concat(path_, ": ", file_error_, ", and no sources are embedded");
    return nil;
  }
  *error = "no embedded source holds it";
  for (const EmbeddedShader& shader : embedded_shaders()) {
    if (std::strstr(shader.source, kernel.c_str()) == nullptr) continue;
    if (source_libraries_.count(shader.name) == 0 && !compile(shader.name, shader.source, error)) return nil;
    id<MTLFunction> found = specialized(source_libraries_[shader.name], name, constants, error);
    if (found != nil) return found;
  }
  return nil;
}

std::string ShaderLibrary::description() const {
  if (file_library_ != nil) return "metallib " + path_;
  if (!embedded_shaders().empty())
    return "embedded sources, compiled at first use (" + path_ + ": " + file_error_ + ")";
  return "none (" + path_ + ": " + file_error_ + ")";
}

}  // namespace metalhead::metal
