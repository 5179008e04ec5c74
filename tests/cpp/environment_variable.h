// Sets an environment variable for the length of a scope.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

namespace metalhead::test {

class EnvironmentVariable {
 public:
  /// No value removes the variable.
  EnvironmentVariable(const char* name, std::optional<std::string> value) : name_(name) {
    if (const char* text = std::getenv(name)) before_ = text;
    assign(value);
  }
  ~EnvironmentVariable() { assign(before_); }
  EnvironmentVariable(const EnvironmentVariable&) = delete;
  EnvironmentVariable& operator=(const EnvironmentVariable&) = delete;

 private:
  void assign(const std::optional<std::string>& value) {
    if (value) {
      setenv(name_, value->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }

  const char* name_;
  std::optional<std::string> before_;
};

}  // namespace metalhead::test
