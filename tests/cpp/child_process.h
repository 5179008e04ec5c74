// Runs a piece of a test in a forked child, with a deadline so that a deadlock fails instead of hanging.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define METALHEAD_THREAD_SANITIZER 1
#elif defined(__SANITIZE_ADDRESS__)
#define METALHEAD_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define METALHEAD_THREAD_SANITIZER 1
#elif __has_feature(address_sanitizer)
#define METALHEAD_ADDRESS_SANITIZER 1
#endif
#endif

/// The thread sanitizer refuses to start threads in a child of a threaded process.
#ifdef METALHEAD_THREAD_SANITIZER
#define METALHEAD_SKIP_WHERE_FORK_IS_UNSUPPORTED() \
  GTEST_SKIP() << "no threads after fork under this sanitizer"
#else
#define METALHEAD_SKIP_WHERE_FORK_IS_UNSUPPORTED() static_cast<void>(0)
#endif

/// For tests that fork while other threads allocate: the address sanitizer's allocator, unlike the C
/// library's, stays locked in a child if one of them holds its lock.
#ifdef METALHEAD_ADDRESS_SANITIZER
#define METALHEAD_SKIP_WHERE_CHILDREN_INHERIT_LOCKS() \
  GTEST_SKIP() << "this sanitizer's allocator may be locked in a child"
#else
#define METALHEAD_SKIP_WHERE_CHILDREN_INHERIT_LOCKS() METALHEAD_SKIP_WHERE_FORK_IS_UNSUPPORTED()
#endif

namespace metalhead::test {

/// True if `body` returned true in a child process within 30 seconds.
template <class Body>
bool succeeds_in_child(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    bool succeeded = false;
    try {
      succeeded = body();
    } catch (...) {
      succeeded = false;
    }
    _exit(succeeded ? 0 : 1);
  }
  int status = -1;
  if (child < 0 || waitpid(child, &status, 0) != child) return false;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace metalhead::test
