// Reference counts, autorelease pools and property accessors: what clang calls for ARC.
#include <Block.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "objc/runtime.h"
#include "objc/runtime_abi.h"
#include "objc/runtime_internal.h"

extern "C" {
extern void* _NSConcreteStackBlock[32];
extern void* _NSConcreteMallocBlock[32];
extern void* _NSConcreteGlobalBlock[32];
}

namespace metalhead::sim {

bool is_block(const ObjectBody* object) {
  if (is_tagged(object)) return false;
  const void* isa = object->isa;
  return isa == _NSConcreteStackBlock || isa == _NSConcreteMallocBlock || isa == _NSConcreteGlobalBlock;
}

namespace {

constexpr long kAliveMark = 0x0b1ec7;
constexpr long kDeadMark = 0xdead;

/// Stands in front of every object.
struct Header {
  long references;
  long mark;
};

Header* header_of(ObjectBody* object) { return reinterpret_cast<Header*>(object) - 1; }

bool is_immortal(const ObjectBody* object) {
  static const ClassObject* const constant_string = class_named("NSConstantString");
  return is_tagged(object) || object->isa == constant_string || (object->isa->info & kInfoIsMetaclass) != 0;
}

void construct_variables(ObjectBody* object, ClassObject* target) {
  static const char* const selector_name = intern_selector(".cxx_construct");
  if (target->superclass != nullptr) construct_variables(object, target->superclass);
  const auto found = target->record->methods.find(selector_name);
  if (found == target->record->methods.end()) return;
  Selector selector{selector_name, ""};
  reinterpret_cast<void (*)(ObjectBody*, Selector*)>(found->second)(object, &selector);
}

void check_alive(ObjectBody* object, const char* what) {
  const Header* header = header_of(object);
  if (header->mark != kAliveMark || __atomic_load_n(&header->references, __ATOMIC_RELAXED) <= 0) {
    runtime_failure(std::string(what) + " of an object that is gone");
  }
}

struct AutoreleaseStack {
  std::vector<ObjectBody*> objects;
  std::vector<size_t> marks;
};

AutoreleaseStack& autorelease_stack() {
  static thread_local AutoreleaseStack stack;
  return stack;
}

}  // namespace
}  // namespace metalhead::sim

using namespace metalhead::sim;

extern "C" {

void* sim_objc_lookup(ObjectBody* receiver, Selector* selector);
ObjectBody* objc_retain(ObjectBody* object);
void objc_release(ObjectBody* object);

void* sim_objc_allocate(void* class_object) {
  auto* target = static_cast<ClassObject*>(class_object);
  void* memory = std::calloc(1, sizeof(Header) + static_cast<size_t>(target->instance_size));
  auto* header = static_cast<Header*>(memory);
  header->references = 1;
  header->mark = kAliveMark;
  auto* object = reinterpret_cast<ObjectBody*>(header + 1);
  object->isa = target;
  target->record->live.fetch_add(1, std::memory_order_relaxed);
  construct_variables(object, target);
  return object;
}

void sim_objc_deallocate(void* memory) {
  static const char* const selector_name = intern_selector(".cxx_destruct");
  auto* object = static_cast<ObjectBody*>(memory);
  Selector selector{selector_name, ""};
  for (ClassObject* target = object->isa; target != nullptr; target = target->superclass) {
    const auto found = target->record->methods.find(selector_name);
    if (found == target->record->methods.end()) continue;
    reinterpret_cast<void (*)(ObjectBody*, Selector*)>(found->second)(object, &selector);
  }
  object->isa->record->live.fetch_sub(1, std::memory_order_relaxed);
  header_of(object)->mark = kDeadMark;
  std::free(header_of(object));
}

ObjectBody* objc_retain(ObjectBody* object) {
  if (object == nullptr) return nullptr;
  if (is_block(object)) return static_cast<ObjectBody*>(_Block_copy(object));
  if (is_immortal(object)) return object;
  check_alive(object, "retain");
  __atomic_add_fetch(&header_of(object)->references, 1, __ATOMIC_RELAXED);
  return object;
}

void objc_release(ObjectBody* object) {
  if (object == nullptr) return;
  if (is_block(object)) return _Block_release(object);
  if (is_immortal(object)) return;
  check_alive(object, "release");
  if (__atomic_sub_fetch(&header_of(object)->references, 1, __ATOMIC_ACQ_REL) != 0) return;
  static const char* const selector_name = intern_selector("dealloc");
  Selector selector{selector_name, ""};
  void* dealloc = sim_objc_lookup(object, &selector);
  reinterpret_cast<void (*)(ObjectBody*, Selector*)>(dealloc)(object, &selector);
}

void* objc_autoreleasePoolPush() {
  AutoreleaseStack& stack = autorelease_stack();
  stack.marks.push_back(stack.objects.size());
  return reinterpret_cast<void*>(stack.marks.size());
}

void objc_autoreleasePoolPop(void* pool) {
  AutoreleaseStack& stack = autorelease_stack();
  while (stack.marks.size() >= reinterpret_cast<size_t>(pool)) {
    const size_t mark = stack.marks.back();
    while (stack.objects.size() > mark) {
      ObjectBody* object = stack.objects.back();
      stack.objects.pop_back();
      objc_release(object);
    }
    stack.marks.pop_back();
  }
}

ObjectBody* objc_autorelease(ObjectBody* object) {
  if (object == nullptr || is_tagged(object)) return object;
  AutoreleaseStack& stack = autorelease_stack();
  if (stack.marks.empty()) {
    runtime_failure(std::string("autorelease of a ") + object->isa->name + " without an autorelease pool");
  }
  stack.objects.push_back(object);
  return object;
}

ObjectBody* objc_autoreleaseReturnValue(ObjectBody* object) { return objc_autorelease(object); }
ObjectBody* objc_retainAutorelease(ObjectBody* object) { return objc_autorelease(objc_retain(object)); }
ObjectBody* objc_retainAutoreleaseReturnValue(ObjectBody* object) { return objc_retainAutorelease(object); }
ObjectBody* objc_retainAutoreleasedReturnValue(ObjectBody* object) { return objc_retain(object); }
ObjectBody* objc_unsafeClaimAutoreleasedReturnValue(ObjectBody* object) { return object; }

ObjectBody* objc_retainBlock(ObjectBody* block) {
  return block != nullptr ? static_cast<ObjectBody*>(_Block_copy(block)) : nullptr;
}

ObjectBody* objc_storeStrong(ObjectBody** slot, ObjectBody* value) {
  ObjectBody* before = *slot;
  *slot = objc_retain(value);
  objc_release(before);
  return value;
}

void objc_setProperty_nonatomic(ObjectBody* object, Selector*, ObjectBody* value, ptrdiff_t offset) {
  objc_storeStrong(reinterpret_cast<ObjectBody**>(reinterpret_cast<char*>(object) + offset), value);
}

// Every class here that a property copies is immutable or a block, so a copy is a retain.
void objc_setProperty_nonatomic_copy(ObjectBody* object, Selector* selector, ObjectBody* value,
                                     ptrdiff_t offset) {
  objc_setProperty_nonatomic(object, selector, value, offset);
}
void objc_setProperty_atomic(ObjectBody* object, Selector* selector, ObjectBody* value, ptrdiff_t offset) {
  objc_setProperty_nonatomic(object, selector, value, offset);
}
void objc_setProperty_atomic_copy(ObjectBody* object, Selector* selector, ObjectBody* value,
                                  ptrdiff_t offset) {
  objc_setProperty_nonatomic(object, selector, value, offset);
}

ObjectBody* objc_getProperty(ObjectBody* object, Selector*, ptrdiff_t offset, bool) {
  return objc_retainAutorelease(*reinterpret_cast<ObjectBody**>(reinterpret_cast<char*>(object) + offset));
}
}
