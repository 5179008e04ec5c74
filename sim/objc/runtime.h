// What tests and the look-alike classes may ask of the small Objective-C runtime.
#pragma once

#include <map>
#include <string>

namespace metalhead::sim {

/// Objects of a class that are alive now (string constants and classes are never counted).
long live_objects(const std::string& class_name);

/// Every class with at least one live object, and how many.
std::map<std::string, long> live_objects();

/// Text of a tagged string constant, kept for the life of the process.
const char* tagged_string_text(const void* tagged);

}  // namespace metalhead::sim

extern "C" {
/// A zeroed object of the class with a reference count of one; runs C++ constructors of its instance
/// variables.
void* sim_objc_allocate(void* class_object);

/// Runs C++ destructors of the instance variables, which releases strong ones, and frees the object.
void sim_objc_deallocate(void* object);

/// True if the object's class has a method for the selector.
bool sim_objc_responds(void* object, void* selector);

/// The class of an object, and its name.
void* sim_objc_class(void* object);
const char* sim_objc_class_name(void* object);
}
