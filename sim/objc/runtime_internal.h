// Functions that the files of the runtime share.
#pragma once

#include <atomic>
#include <string>
#include <unordered_map>

#include "objc/runtime_abi.h"

namespace metalhead::sim {

/// What the runtime keeps for a class beside its compiled description.
struct ClassRecord {
  std::unordered_map<const char*, void*> methods;  ///< by interned selector name
  std::atomic<long> live{0};
};

/// The one pointer that stands for a selector's name.
const char* intern_selector(const char* name);

ClassObject* class_named(const char* name);
ClassObject* class_of(const ObjectBody* object);

/// The implementation in the class or the nearest superclass that has one, else nullptr.
void* find_method(const ClassObject* target, const char* interned_name);

/// True for blocks, whose first word is not a class of this runtime.
bool is_block(const ObjectBody* object);

[[noreturn]] void runtime_failure(const std::string& text);

}  // namespace metalhead::sim
