// Public functions: declared in Python, which gives them signature, defaults and documentation, and run here
// without a Python frame.
#pragma once

#include "bindings/casters.h"

#include <cstddef>
#include <initializer_list>
#include <utility>
#include <vector>

namespace metalhead::python {

namespace nb = nanobind;

/// Runs one call. The arguments stand in the order of the declaration, with defaults where none was given.
using NativeRun = nb::object (*)(const nb::handle* arguments);

/// What runs when a declaration of this name with exactly these parameters is called.
struct NativeFunction {
  const char* name;
  std::vector<const char*> parameters;
  NativeRun run;
};

void add_native_function(NativeFunction function);

namespace detail {

template <auto Function, size_t... Index>
nb::object spread(const nb::handle* arguments, std::index_sequence<Index...>) {
  return Function(arguments[Index]...);
}

template <auto Function, class... Arguments, class... Names>
void define_native(const char* name, nb::object (*)(Arguments...), Names... names) {
  static_assert(sizeof...(Arguments) == sizeof...(Names), "one name for each parameter");
  constexpr NativeRun kRun = [](const nb::handle* arguments) {
    return spread<Function>(arguments, std::index_sequence_for<Arguments...>());
  };
  add_native_function({name, {names...}, kRun});
}

}  // namespace detail

/// Lets `_core.native` find a function that takes one `nb::handle` for each of the named parameters.
template <auto Function, class... Names>
void define_native(const char* name, Names... parameters) {
  detail::define_native<Function>(name, Function, parameters...);
}

/// Adds the decorator `native`, which turns a declaration into the function that runs here.
void bind_native_function(nb::module_& module);

}  // namespace metalhead::python
