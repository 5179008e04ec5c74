// Memory layout of what clang emits for Objective-C with -fobjc-runtime=gnustep-2.0 on 64-bit Linux.
#pragma once

#include <cstddef>
#include <cstdint>

namespace metalhead::sim {

struct ClassRecord;

/// A selector; `name` is replaced by its interned text when the image is loaded, so equal names are equal
/// pointers.
struct Selector {
  const char* name;
  const char* types;
};

struct Method {
  void* implementation;
  Selector* selector;
  const char* types;
};

struct MethodList {
  MethodList* next;
  int32_t count;
  size_t element_size;
  Method methods[1];  ///< `count` of them
};

struct InstanceVariable {
  const char* name;
  const char* type;
  int32_t* offset;
  uint32_t size;
  uint32_t flags;
};

struct InstanceVariableList {
  int32_t count;
  size_t element_size;
  InstanceVariable variables[1];  ///< `count` of them
};

struct ClassObject {
  ClassObject* isa;
  ClassObject* superclass;
  const char* name;
  long version;
  unsigned long info;
  long instance_size;  ///< bytes; zero or negative until the superclass's size has been added
  InstanceVariableList* variables;
  MethodList* methods;
  ClassRecord* record;  ///< the ABI's slot for the dispatch table
  void* construct;
  void* destruct;
  void* subclasses;
  void* siblings;
  void* protocols;
  void* extra;
  long abi_version;
  void* properties;
};

struct Category {
  const char* name;
  const char* class_name;
  MethodList* instance_methods;
  MethodList* class_methods;
  void* protocols;
  void* properties;
  void* class_properties;
};

/// What every object file hands to `__objc_load`: section bounds of its selectors, classes and categories.
struct ImageTables {
  uint64_t version;
  Selector *selectors_begin, *selectors_end;
  ClassObject **classes_begin, **classes_end;
  ClassObject **references_begin, **references_end;
  Category *categories_begin, *categories_end;
  void* rest[8];
};

struct ObjectBody {
  ClassObject* isa;
};

struct SuperReceiver {
  ObjectBody* receiver;
  ClassObject* superclass;
};

/// Layout of a string constant; short ASCII ones are tagged pointers instead (see `tagged_string_text`).
struct ConstantString {
  ClassObject* isa;
  uint32_t flags;
  uint32_t length;
  uint32_t size;
  uint32_t hash;
  const char* text;
};

constexpr unsigned long kInfoIsMetaclass = 1;

/// True for strings that live in the pointer itself: 7-bit characters, a length and the tag 4 in the low
/// three bits.
inline bool is_tagged(const void* object) { return (reinterpret_cast<uintptr_t>(object) & 7) == 4; }

}  // namespace metalhead::sim
