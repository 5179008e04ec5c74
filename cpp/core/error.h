// The error types of the library, and how their texts are put together.
#pragma once

#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
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

/// Joins its arguments into one text.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

}  // namespace metalhead
