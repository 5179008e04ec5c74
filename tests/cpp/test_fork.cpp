// Tests of what must stay usable in a child of fork.
#include "core/fork.h"

#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <thread>

#include "child_process.h"

namespace metalhead {
namespace {

std::atomic<bool> slow_value_begun{false};
int make_slow_value() {
  slow_value_begun = true;
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  return 7;
}
ForkSafeLazy<int> slow_value(make_slow_value);

TEST(ForkSafeLazyTest, ForkWaitsForAValueThatIsBeingMade) {
  METALHEAD_SKIP_WHERE_FORK_IS_UNSUPPORTED();
  std::thread first([] { slow_value.get(); });
  while (!slow_value_begun) std::this_thread::yield();
  EXPECT_TRUE(test::succeeds_in_child([] { return slow_value.get() == 7; }));
  first.join();
}

int calls = 0;
ForkSafeLazy<int> value_of_second_call([] {
  if (++calls == 1) throw std::runtime_error("not yet");
  return calls;
});

TEST(ForkSafeLazyTest, IsMadeOnceAndAgainAfterAnError) {
  EXPECT_THROW(value_of_second_call.get(), std::runtime_error);
  EXPECT_EQ(value_of_second_call.get(), 2);
  EXPECT_EQ(&value_of_second_call.get(), &value_of_second_call.get());
  EXPECT_EQ(calls, 2);
}

TEST(ForkCountTest, CountsTheForksUpToThisProcess) {
  const uint64_t before = fork_count();
  EXPECT_TRUE(test::succeeds_in_child([before] { return fork_count() == before + 1; }));
  EXPECT_EQ(fork_count(), before);
}

}  // namespace
}  // namespace metalhead
