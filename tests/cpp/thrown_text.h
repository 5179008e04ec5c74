// The text of the error that a call throws, for tests of messages.
#pragma once

#include <string>

namespace metalhead::test {

/// What the error of type `Error` says; other errors pass through, none gives `nothing was thrown`.
template <class Error, class Call>
std::string thrown_text(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace metalhead::test
