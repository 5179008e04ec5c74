// Loads classes and finds methods: the part of an Objective-C runtime that message sends need.
#include "objc/runtime.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "objc/runtime_abi.h"
#include "objc/runtime_internal.h"

namespace metalhead::sim {
namespace {

std::recursive_mutex& load_mutex() {
  static auto* mutex = new std::recursive_mutex;
  return *mutex;
}

std::unordered_set<std::string>& selector_names() {
  static auto* names = new std::unordered_set<std::string>;
  return *names;
}

std::map<std::string, ClassObject*>& class_table() {
  static auto* table = new std::map<std::string, ClassObject*>;
  return *table;
}

void add_methods(ClassObject* target, MethodList* list, bool replace) {
  for (; list != nullptr; list = list->next) {
    for (int32_t i = 0; i < list->count; ++i) {
      Method& method = list->methods[i];
      const char* name = intern_selector(method.selector->name);
      if (replace) {
        target->record->methods[name] = method.implementation;
      } else {
        target->record->methods.emplace(name, method.implementation);
      }
    }
  }
}

void lay_out_instance_variables(ClassObject* target) {
  if (target->instance_size > 0) return;
  const long base = target->superclass != nullptr ? target->superclass->instance_size : 0;
  for (int32_t i = 0; target->variables != nullptr && i < target->variables->count; ++i) {
    *target->variables->variables[i].offset += static_cast<int32_t>(base);
  }
  target->instance_size = base - target->instance_size;
}

void realize(ClassObject* target) {
  if (target->record != nullptr) return;
  ClassObject* metaclass = target->isa;
  if (target->superclass != nullptr) realize(target->superclass);
  target->record = new ClassRecord;
  metaclass->record = new ClassRecord;
  lay_out_instance_variables(target);
  metaclass->superclass = target->superclass != nullptr ? target->superclass->isa : target;
  metaclass->isa = metaclass;
  add_methods(target, target->methods, false);
  add_methods(metaclass, metaclass->methods, false);
  class_table()[target->name] = target;
}

}  // namespace

const char* intern_selector(const char* name) {
  std::lock_guard lock(load_mutex());
  return selector_names().insert(name).first->c_str();
}

ClassObject* class_named(const char* name) {
  std::lock_guard lock(load_mutex());
  const auto found = class_table().find(name);
  return found == class_table().end() ? nullptr : found->second;
}

ClassObject* class_of(const ObjectBody* object) {
  static ClassObject* const tagged_string_class = class_named("NSTaggedString");
  return is_tagged(object) ? tagged_string_class : object->isa;
}

// Lock-free on purpose: a lock here would order threads that the program itself leaves unordered, and hide
// their races.
void* find_method(const ClassObject* target, const char* interned_name) {
  for (; target != nullptr; target = target->superclass) {
    if (target->record == nullptr) continue;
    const auto found = target->record->methods.find(interned_name);
    if (found != target->record->methods.end()) return found->second;
    if ((target->info & kInfoIsMetaclass) == 0 && target->superclass == target) break;
  }
  return nullptr;
}

void runtime_failure(const std::string& text) {
  std::fprintf(stderr, "objective-c runtime: %s\n", text.c_str());
  std::abort();
}

long live_objects(const std::string& class_name) {
  const ClassObject* target = class_named(class_name.c_str());
  return target != nullptr ? target->record->live.load() : 0;
}

std::map<std::string, long> live_objects() {
  std::lock_guard lock(load_mutex());
  std::map<std::string, long> counts;
  for (const auto& [name, target] : class_table()) {
    if (const long live = target->record->live.load(); live != 0) counts[name] = live;
  }
  return counts;
}

const char* tagged_string_text(const void* tagged) {
  static auto* mutex = new std::mutex;
  static auto* texts = new std::unordered_map<uintptr_t, std::string>;
  const auto bits = reinterpret_cast<uintptr_t>(tagged);
  std::lock_guard lock(*mutex);
  auto [entry, added] = texts->try_emplace(bits);
  if (added) {
    const uintptr_t length = (bits >> 3) & 0xf;
    for (uintptr_t i = 0; i < length; ++i) {
      entry->second.push_back(static_cast<char>((bits >> (57 - 7 * i)) & 0x7f));
    }
  }
  return entry->second.c_str();
}

}  // namespace metalhead::sim

using namespace metalhead::sim;

extern "C" {

void __objc_load(ImageTables* image) {
  std::lock_guard lock(load_mutex());
  for (Selector* s = image->selectors_begin; s < image->selectors_end; ++s) {
    if (s->name != nullptr) s->name = intern_selector(s->name);
  }
  for (ClassObject** c = image->classes_begin; c < image->classes_end; ++c) {
    if (*c != nullptr) realize(*c);
  }
  for (Category* c = image->categories_begin; c < image->categories_end; ++c) {
    ClassObject* target = c->class_name != nullptr ? class_named(c->class_name) : nullptr;
    if (target == nullptr) continue;
    add_methods(target, c->instance_methods, true);
    add_methods(target->isa, c->class_methods, true);
  }
}

__attribute__((naked)) static void answer_nil() {
  asm("xorl %eax, %eax\n xorl %edx, %edx\n xorps %xmm0, %xmm0\n xorps %xmm1, %xmm1\n ret");
}

void* sim_objc_lookup(ObjectBody* receiver, Selector* selector) {
  if (receiver == nullptr) return reinterpret_cast<void*>(answer_nil);
  if (is_block(receiver)) runtime_failure(std::string("message to a block: ") + selector->name);
  const ClassObject* target = class_of(receiver);
  if (void* found = find_method(target, selector->name)) return found;
  runtime_failure(std::string((target->info & kInfoIsMetaclass) ? "+[" : "-[") + target->name + " " +
                  selector->name + "]: unrecognized selector");
}

// A message send keeps every argument register, finds the method and jumps to it with the stack as it was.
#define METALHEAD_SAVE_ARGUMENTS                                                                         \
  "pushq %rbp\n movq %rsp, %rbp\n subq $192, %rsp\n"                                                     \
  "movq %rdi, (%rsp)\n movq %rsi, 8(%rsp)\n movq %rdx, 16(%rsp)\n movq %rcx, 24(%rsp)\n"                 \
  "movq %r8, 32(%rsp)\n movq %r9, 40(%rsp)\n movq %rax, 48(%rsp)\n"                                      \
  "movaps %xmm0, 64(%rsp)\n movaps %xmm1, 80(%rsp)\n movaps %xmm2, 96(%rsp)\n movaps %xmm3, 112(%rsp)\n" \
  "movaps %xmm4, 128(%rsp)\n movaps %xmm5, 144(%rsp)\n movaps %xmm6, 160(%rsp)\n movaps %xmm7, 176(%rsp)\n"
#define METALHEAD_RESTORE_AND_JUMP                                                                          \
  "movq %rax, %r11\n"                                                                                       \
  "movq (%rsp), %rdi\n movq 8(%rsp), %rsi\n movq 16(%rsp), %rdx\n movq 24(%rsp), %rcx\n"                    \
  "movq 32(%rsp), %r8\n movq 40(%rsp), %r9\n movq 48(%rsp), %rax\n"                                         \
  "movaps 64(%rsp), %xmm0\n movaps 80(%rsp), %xmm1\n movaps 96(%rsp), %xmm2\n movaps 112(%rsp), %xmm3\n"    \
  "movaps 128(%rsp), %xmm4\n movaps 144(%rsp), %xmm5\n movaps 160(%rsp), %xmm6\n movaps 176(%rsp), %xmm7\n" \
  "leave\n jmp *%r11\n"

__attribute__((naked)) void objc_msgSend() {
  asm(METALHEAD_SAVE_ARGUMENTS "callq sim_objc_lookup@PLT\n" METALHEAD_RESTORE_AND_JUMP);
}

__attribute__((naked)) void objc_msgSend_stret() {
  asm(METALHEAD_SAVE_ARGUMENTS
      "movq %rsi, %rdi\n movq %rdx, %rsi\n callq sim_objc_lookup@PLT\n" METALHEAD_RESTORE_AND_JUMP);
}

__attribute__((naked)) void objc_msgSend_fpret() { asm("jmp objc_msgSend@PLT"); }

void* objc_msg_lookup_super(SuperReceiver* receiver, Selector* selector) {
  if (void* found = find_method(receiver->superclass, selector->name)) return found;
  runtime_failure(std::string("[super ") + selector->name + "]: unrecognized selector");
}

__attribute__((naked)) int __gnustep_objcxx_personality_v0() { asm("jmp __gxx_personality_v0@PLT"); }
__attribute__((naked)) int __gnustep_objc_personality_v0() { asm("jmp __gxx_personality_v0@PLT"); }

ClassObject* objc_lookup_class(const char* name) { return class_named(name); }
ClassObject* objc_getClass(const char* name) { return class_named(name); }

bool sim_objc_responds(void* object, void* selector) {
  return find_method(class_of(static_cast<ObjectBody*>(object)), static_cast<Selector*>(selector)->name) !=
         nullptr;
}

void* sim_objc_class(void* object) { return class_of(static_cast<ObjectBody*>(object)); }
const char* sim_objc_class_name(void* object) { return class_of(static_cast<ObjectBody*>(object))->name; }

void objc_enumerationMutation(void*) { runtime_failure("collection changed while it was enumerated"); }
void objc_exception_throw(void*) { runtime_failure("an Objective-C exception was thrown"); }
}
