// Tests of the device list: names, defaults, options, and first use from many threads.
#include "devices/device_registry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "child_process.h"
#include "core/error.h"
#include "devices/cpu/machine.h"
#include "environment_variable.h"
#include "thrown_text.h"

namespace metalhead {
namespace {

using test::EnvironmentVariable;

std::string instruction_set_of(const Device& device) {
  for (const auto& [key, value] : device.info()) {
    if (key == "instruction_set") return value;
  }
  return "";
}

TEST(DeviceRegistryTest, CpuIsAlwaysThere) {
  const std::vector<std::string> names = device_names();
  EXPECT_EQ(std::count(names.begin(), names.end(), "cpu"), 1);
  EXPECT_EQ(device("cpu").name(), "cpu");
  EXPECT_EQ(&device("cpu"), &device("cpu"));
}

TEST(DeviceRegistryTest, UnknownNameListsWhatThereIs) {
  std::string present;
  for (const std::string& name : device_names()) present += (present.empty() ? "" : ", ") + name;
  for (const char* name : {"cuda", "", "CPU", "cpu "}) {
    EXPECT_EQ(test::thrown_text<DeviceError>([&] { device(name); }),
              concat("device: name must be one of those present (", present, "), got '", name, "'"));
  }
}

TEST(DeviceRegistryTest, EqualOptionsGiveTheSameDevice) {
  Device& three = cpu_device_with({.threads = 3, .instruction_set = ""});
  EXPECT_EQ(&cpu_device_with({.threads = 3, .instruction_set = ""}), &three);
  EXPECT_EQ(three.limits().compute_units, 3u);
  EXPECT_NE(&cpu_device_with({.threads = 4, .instruction_set = ""}), &three);
  EXPECT_EQ(&cpu_device_with({}), &device("cpu"));
  EXPECT_EQ(&cpu_device_with({.threads = 3, .instruction_set = instruction_set_of(three)}), &three);
}

TEST(DeviceRegistryTest, EveryAvailableInstructionSetCanBeChosen) {
  for (const cpu::KernelTable& table : cpu::available_kernel_tables()) {
    const std::string name(table.instruction_set);
    EXPECT_EQ(instruction_set_of(cpu_device_with({.threads = 2, .instruction_set = name})), name);
  }
}

TEST(DeviceRegistryTest, WrongOptionsAreErrors) {
  EXPECT_EQ(test::thrown_text<ValueError>([] { cpu_device_with({.threads = 1025, .instruction_set = ""}); }),
            "cpu: threads must be at most 1024, got 1025");
  EXPECT_THROW(cpu_device_with({.threads = 1, .instruction_set = "mmx"}), DeviceError);
}

TEST(DeviceRegistryTest, DefaultCanBeSet) {
  const std::string before = default_device_name();
  set_default_device(device("cpu"));
  EXPECT_EQ(default_device_name(), "cpu");
  EXPECT_EQ(&default_device(), &device("cpu"));
  EXPECT_THROW(device("cuda"), DeviceError);
  EXPECT_EQ(default_device_name(), "cpu");
  set_default_device(device(before));
}

TEST(DeviceRegistryTest, ThreadsThatAskAtOnceGetTheSameDevice) {
  std::array<Device*, 8> found{};
  std::vector<std::thread> threads;
  for (Device*& mine : found) {
    threads.emplace_back([&mine] { mine = &cpu_device_with({.threads = 7, .instruction_set = ""}); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Device* each : found) EXPECT_EQ(each, found[0]);
}

TEST(DeviceRegistryTest, ChildOfForkCanMakeDevices) {
  METALHEAD_SKIP_WHERE_CHILDREN_INHERIT_LOCKS();
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    for (int i = 0; !stop; ++i) cpu_device_with({.threads = 8 + i % 50, .instruction_set = ""});
  });
  int succeeded = 0;
  for (int i = 0; i < 30; ++i) {
    succeeded += test::succeeds_in_child([i] {
      return cpu_device_with({.threads = 100 + i, .instruction_set = ""}).limits().compute_units ==
             static_cast<uint32_t>(100 + i);
    });
  }
  stop = true;
  busy.join();
  EXPECT_EQ(succeeded, 30);
}

/// The settings are read once, so each case runs in a process of its own: its answer is what it prints.
template <class Answer>
[[noreturn]] void print_and_exit(Answer answer) {
  std::string text;
  try {
    text = answer();
  } catch (const std::exception& error) {
    text = error.what();
  }
  std::fputs(text.c_str(), stderr);
  std::_Exit(0);
}

class DeviceRegistryDeathTest : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(DeviceRegistryDeathTest, DeviceVariableIsHonoured) {
  const EnvironmentVariable variable("METALHEAD_DEVICE", "cpu");
  EXPECT_EXIT(print_and_exit([] { return default_device_name(); }), testing::ExitedWithCode(0), "^cpu$");
}

TEST_F(DeviceRegistryDeathTest, WrongDeviceVariableIsNamed) {
  const EnvironmentVariable variable("METALHEAD_DEVICE", "cuda");
  EXPECT_EXIT(print_and_exit([] { return default_device_name(); }), testing::ExitedWithCode(0),
              "^METALHEAD_DEVICE: device: name must be one of those present .*, got 'cuda'$");
}

TEST_F(DeviceRegistryDeathTest, ThreadsVariableIsHonouredUnlessAsked) {
  const EnvironmentVariable variable("METALHEAD_NUM_THREADS", "5");
  EXPECT_EXIT(print_and_exit([] {
                return concat(device("cpu").limits().compute_units, " ",
                              cpu_device_with({.threads = 2, .instruction_set = ""}).limits().compute_units);
              }),
              testing::ExitedWithCode(0), "^5 2$");
}

TEST_F(DeviceRegistryDeathTest, WithoutTheVariableThreadsFollowTheMachine) {
  const EnvironmentVariable variable("METALHEAD_NUM_THREADS", std::nullopt);
  EXPECT_EXIT(print_and_exit([] {
                return device("cpu").limits().compute_units == static_cast<uint32_t>(cpu::usable_cpus())
                           ? "same"
                           : "other";
              }),
              testing::ExitedWithCode(0), "^same$");
}

TEST_F(DeviceRegistryDeathTest, InstructionSetVariableIsHonoured) {
  const std::string lowest(cpu::available_kernel_tables().back().instruction_set);
  const EnvironmentVariable variable("METALHEAD_CPU_ISA", lowest);
  EXPECT_EXIT(print_and_exit([] { return instruction_set_of(device("cpu")); }), testing::ExitedWithCode(0),
              "^" + lowest + "$");
}

TEST_F(DeviceRegistryDeathTest, WrongInstructionSetVariableIsNamed) {
  const EnvironmentVariable variable("METALHEAD_CPU_ISA", "avx9");
  EXPECT_EXIT(print_and_exit([] { return device("cpu").name(); }), testing::ExitedWithCode(0),
              "^METALHEAD_CPU_ISA: cpu: instruction_set must be .*, got 'avx9'$");
}

TEST_F(DeviceRegistryDeathTest, PoolLimitVariableIsHonoured) {
  const EnvironmentVariable variable("METALHEAD_POOL_LIMIT_MB", "3");
  EXPECT_EXIT(print_and_exit([] { return std::to_string(device("cpu").pool_statistics().limit_bytes); }),
              testing::ExitedWithCode(0), "^3145728$");
}

TEST_F(DeviceRegistryDeathTest, ProcessEndsWithThreadsStillThere) {
  EXPECT_EXIT(
      {
        device("cpu").warm_up();
        cpu_device_with({.threads = 6, .instruction_set = ""}).warm_up();
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace metalhead
