// Libraries, functions, function constants, pipelines and binary archives of the Metal look-alike.
#include "objc/metal_library.h"

#include <cstring>
#include <fstream>
#include <sstream>

#include "objc/execution_counters.h"
#include "objc/fault.h"
#include "objc/foundation_objects.h"
#include "objc/metal_objects.h"
#include "objc/validation.h"

using namespace metalhead::sim;

static void set_error(NSError* __autoreleasing* error, NSString* domain, NSInteger code,
                      const std::string& text) {
  if (error != nil) *error = make_error(domain, code, text);
}

static const char* constant_type_name(MTLDataType type) {
  switch (type) {
    case MTLDataTypeBool:
      return "bool";
    case MTLDataTypeUInt:
      return "uint";
    case MTLDataTypeInt:
      return "int";
    case MTLDataTypeFloat:
      return "float";
  }
  return "?";
}

@implementation MTLFunctionConstantValues
- (void)setConstantValue:(const void*)value type:(MTLDataType)type atIndex:(NSUInteger)index {
  if (index > 65535) return report_misuse("setConstantValue: index must be below 65536");
  const auto* bytes = static_cast<const std::byte*>(value);
  const size_t size = type == MTLDataTypeBool ? 1 : 4;
  values_[static_cast<int>(index)] = {constant_type_name(type), {bytes, bytes + size}};
}
@end

@implementation MTLCompileOptions
- (instancetype)init {
  self.fastMathEnabled = YES;
  return self;
}
@end

@implementation MTLComputePipelineDescriptor
@end

@implementation MTLBinaryArchiveDescriptor
@end

@implementation SimFunction
- (NSString*)name {
  return make_string(kernel_.name);
}
@end

/// Text of what is wrong with the constants, empty if the function can be specialised with them.
static std::string constants_problem(const KernelDescription& kernel,
                                     const std::map<int, ConstantValue>& values) {
  for (const KernelConstant& constant : kernel.constants) {
    const auto given = values.find(constant.index);
    // Whether this function reads the constant shows only when it runs: the runtime then reports a missing
    // value.
    if (given == values.end()) continue;
    if (given->second.type != constant.type) {
      return "function constant " + constant.name + " is " + constant.type + ", got " + given->second.type;
    }
  }
  return "";
}

@implementation SimLibrary
@synthesize label;
- (NSArray<NSString*>*)functionNames {
  std::vector<id> names;
  for (const std::string& name : names_) names.push_back(make_string(name));
  return make_array(names);
}

- (bool)has:(const KernelDescription&)kernel {
  if (!from_source_) return names_.count(kernel.name) != 0;
  const std::string file = kernel.source_file.substr(kernel.source_file.rfind('/') + 1);
  return source_.find("\"" + file + "\"") != std::string::npos;
}

- (SimFunction*)newFunctionNamed:(const std::string&)name error:(NSError* __autoreleasing*)error {
  std::string text;
  if (take_fault(Fault::kFunction, &text)) {
    set_error(error, @"MTLLibraryErrorDomain", 5, text);
    return nil;
  }
  const std::optional<KernelDescription> kernel = describe_kernel(name);
  if (!kernel || ![self has:*kernel]) {
    set_error(error, @"MTLLibraryErrorDomain", 5, "function " + name + " was not found in the library");
    return nil;
  }
  SimFunction* function = [SimFunction new];
  function->kernel_ = *kernel;
  return function;
}

- (id<MTLFunction>)newFunctionWithName:(NSString*)name {
  SimFunction* function = [self newFunctionNamed:text_of(name) error:nil];
  if (function != nil) function->specialized_ = function->kernel_.constants.empty();
  return function;
}

- (id<MTLFunction>)newFunctionWithName:(NSString*)name
                        constantValues:(MTLFunctionConstantValues*)values
                                 error:(NSError* __autoreleasing*)error {
  SimFunction* function = [self newFunctionNamed:text_of(name) error:error];
  if (function == nil) return nil;
  if (std::string text = constants_problem(function->kernel_, values->values_); !text.empty()) {
    set_error(error, @"MTLLibraryErrorDomain", 3, function->kernel_.name + ": " + text);
    return nil;
  }
  for (const KernelConstant& constant : function->kernel_.constants) {
    const auto given = values->values_.find(constant.index);
    if (given != values->values_.end()) function->constants_[constant.index] = given->second;
  }
  function->specialized_ = true;
  return function;
}
@end

@implementation SimPipeline
- (NSString*)label {
  return label_;
}
- (NSUInteger)maxTotalThreadsPerThreadgroup {
  return kernel_.max_threads_per_threadgroup;
}
- (NSUInteger)threadExecutionWidth {
  return 32;
}
- (NSUInteger)staticThreadgroupMemoryLength {
  return kernel_.static_threadgroup_bytes;
}
@end

@implementation SimBinaryArchive
- (BOOL)addComputePipelineFunctionsWithDescriptor:(MTLComputePipelineDescriptor*)descriptor
                                            error:(NSError* __autoreleasing*)error {
  SimFunction* function = (SimFunction*)descriptor.computeFunction;
  if (function == nil) {
    set_error(error, @"MTLBinaryArchiveDomain", 3, "the descriptor has no function");
    return NO;
  }
  keys_.insert(archive_key(function->kernel_.name, function->constants_));
  return YES;
}

- (BOOL)serializeToURL:(NSURL*)url error:(NSError* __autoreleasing*)error {
  std::string text = "nothing to serialise";
  if (keys_.empty() || take_fault(Fault::kArchiveSerialize, &text)) {
    set_error(error, @"MTLBinaryArchiveDomain", 4, text);
    return NO;
  }
  std::ofstream file(text_of(url.path));
  file << kArchiveMagic << '\n';
  for (const std::string& key : keys_) file << key << '\n';
  if (file.good()) return YES;
  set_error(error, @"MTLBinaryArchiveDomain", 4, "the file cannot be written");
  return NO;
}
@end

namespace metalhead::sim {

std::string archive_key(const std::string& kernel, const std::map<int, ConstantValue>& constants) {
  std::ostringstream key;
  key << kernel;
  for (const auto& [index, value] : constants) {
    key << ' ' << index << '=';
    for (std::byte byte : value.bytes) key << std::to_integer<int>(byte) << ',';
  }
  return key.str();
}

id<MTLLibrary> new_library_from_file(const std::string& path, NSError* __autoreleasing* error) {
  std::string text;
  if (take_fault(Fault::kLibraryFile, &text)) {
    set_error(error, @"MTLLibraryErrorDomain", 1, text);
    return nil;
  }
  std::ifstream file(path);
  std::string line;
  if (!file) {
    set_error(error, @"MTLLibraryErrorDomain", 6, "library file not found: " + path);
    return nil;
  }
  if (!std::getline(file, line) || line != kLibraryMagic) {
    set_error(error, @"MTLLibraryErrorDomain", 1, "invalid library file: " + path);
    return nil;
  }
  SimLibrary* library = [SimLibrary new];
  while (std::getline(file, line)) library->names_.insert(line);
  return library;
}

id<MTLLibrary> new_library_from_source(const std::string& source, MTLCompileOptions* options,
                                       NSError* __autoreleasing* error) {
  std::string text;
  if (take_fault(Fault::kLibrarySource, &text)) {
    set_error(error, @"MTLLibraryErrorDomain", 3, text);
    return nil;
  }
  if (source.find("#include \"") != std::string::npos) {
    set_error(error, @"MTLLibraryErrorDomain", 3,
              "program_source: fatal error: a quoted include was not found");
    return nil;
  }
  if (options != nil && options.languageVersion != 0 && options.languageVersion < MTLLanguageVersion3_1) {
    set_error(error, @"MTLLibraryErrorDomain", 3, "bfloat needs Metal language version 3.1");
    return nil;
  }
  SimLibrary* library = [SimLibrary new];
  library->source_ = source;
  library->from_source_ = true;
  return library;
}

id<MTLComputePipelineState> new_pipeline(MTLComputePipelineDescriptor* descriptor, MTLPipelineOption options,
                                         NSError* __autoreleasing* error) {
  std::string text;
  if (take_fault(Fault::kPipeline, &text)) {
    set_error(error, @"AGXMetal", 3, text);
    return nil;
  }
  SimFunction* function = (SimFunction*)descriptor.computeFunction;
  if (function == nil) {
    report_misuse("newComputePipelineState: computeFunction must not be nil");
    return nil;
  }
  if (!function->specialized_) {
    report_misuse("newComputePipelineState: function " + function->kernel_.name +
                  " needs function constant values");
    return nil;
  }
  bool archived = false;
  for (NSUInteger i = 0; i < descriptor.binaryArchives.count; ++i) {
    SimBinaryArchive* archive = (SimBinaryArchive*)descriptor.binaryArchives[i];
    archived |= archive->keys_.count(archive_key(function->kernel_.name, function->constants_)) != 0;
  }
  if (!archived && (options & MTLPipelineOptionFailOnBinaryArchiveMiss) != 0) {
    set_error(error, @"AGXMetal", 2, "the pipeline is not in a binary archive");
    return nil;
  }
  (archived ? execution_counters().pipelines_from_archive : execution_counters().pipelines_compiled) += 1;
  SimPipeline* pipeline = [SimPipeline new];
  pipeline->kernel_ = function->kernel_;
  pipeline->constants_ = function->constants_;
  pipeline->label_ = descriptor.label;
  return pipeline;
}

id<MTLBinaryArchive> new_archive(const std::string& path, NSError* __autoreleasing* error) {
  std::string text;
  if (take_fault(Fault::kArchiveCreate, &text)) {
    set_error(error, @"MTLBinaryArchiveDomain", 4, text);
    return nil;
  }
  SimBinaryArchive* archive = [SimBinaryArchive new];
  if (path.empty()) return archive;
  std::ifstream file(path);
  std::string line;
  if (!file || !std::getline(file, line) || line != kArchiveMagic) {
    set_error(error, @"MTLBinaryArchiveDomain", 1, "invalid binary archive: " + path);
    return nil;
  }
  while (std::getline(file, line)) archive->keys_.insert(line);
  return archive;
}

}  // namespace metalhead::sim
