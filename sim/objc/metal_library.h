// Libraries, functions, pipelines and archives of the look-alike, as functions that the device's methods
// call.
#pragma once

#import <Metal/Metal.h>

#include <string>

namespace metalhead::sim {

/// First line of a library file here; the host names of its kernels follow, one a line.
constexpr const char* kLibraryMagic = "metalhead simulated metallib";
/// First line of a serialised binary archive here; one key a line follows.
constexpr const char* kArchiveMagic = "metalhead simulated binary archive";

id<MTLLibrary> new_library_from_file(const std::string& path, NSError* __autoreleasing* error)
    __attribute__((ns_returns_retained));
id<MTLLibrary> new_library_from_source(const std::string& source, MTLCompileOptions* options,
                                       NSError* __autoreleasing* error) __attribute__((ns_returns_retained));
id<MTLComputePipelineState> new_pipeline(MTLComputePipelineDescriptor* descriptor, MTLPipelineOption options,
                                         NSError* __autoreleasing* error)
    __attribute__((ns_returns_retained));
id<MTLBinaryArchive> new_archive(const std::string& path, NSError* __autoreleasing* error)
    __attribute__((ns_returns_retained));

}  // namespace metalhead::sim
