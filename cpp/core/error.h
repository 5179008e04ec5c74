// The error types of the library, and how their texts are put together.
#pragma once

#include <concepts>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace metalhead {

/// A wrong shape or value: `ValueError` in Python.
struct ValueError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// A wrong dtype or kind of object: `TypeError` in Python.
struct TypeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// A shader that is missing or does not compile: `metalhead.KernelError` in Python.
struct KernelError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// No such device, or a command that failed on it: `metalhead.DeviceError` in Python.
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Memory that could not be had: `MemoryError` in Python.
struct MemoryError : std::bad_alloc {
  explicit MemoryError(std::string text) : text_(std::move(text)) {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

// Without streams: where libstdc++ is linked into the extension, another copy in the process, as that of some
// other package, makes their locale facets useless.
inline void append_text(std::string& text, std::string_view part) { text += part; }
inline void append_text(std::string& text, char part) { text += part; }
inline void append_text(std::string& text, const void* address) {
  char digits[32];
  std::snprintf(digits, sizeof(digits), "%p", address);
  text += digits;
}
inline void append_text(std::string& text, const char* part) { text += part; }
template <std::integral Number>
void append_text(std::string& text, Number part) {
  text += std::to_string(part);
}
template <std::floating_point Number>
void append_text(std::string& text, Number part) {
  char digits[32];
  std::snprintf(digits, sizeof(digits), "%g", static_cast<double>(part));
  text += digits;
}

/// Joins its arguments into one text; floating-point numbers with six digits.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::string text;
  (append_text(text, parts), ...);
  return text;
}

}  // namespace metalhead
