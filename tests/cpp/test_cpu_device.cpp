// Tests of the CPU device with kernels of their own: lookup, sharing, memory, callers from many threads, and
// fork.
#include "devices/cpu/cpu_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "child_process.h"
#include "core/error.h"
#include "thrown_text.h"

namespace metalhead::cpu {
namespace {

constexpr uint64_t kLarge = 1'000'000'000;  ///< a cost that is always worth sharing

struct AddParams {
  int32_t value;
};

void add_value(const Launch& launch, uint64_t begin, uint64_t end, Scratch&) {
  int32_t* const data = launch.data<int32_t>(0);
  for (uint64_t group = begin; group < end; ++group) data[group] += launch.params<AddParams>().value;
}

void add_one_through_scratch(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch) {
  const size_t bytes = (end - begin) * sizeof(int32_t);
  auto* const tile = reinterpret_cast<int32_t*>(scratch.reserve(bytes));
  int32_t* const data = launch.data<int32_t>(0) + begin;
  std::memcpy(tile, data, bytes);
  for (uint64_t i = 0; i < end - begin; ++i) ++tile[i];
  std::memcpy(data, tile, bytes);
}

struct Call {
  uint64_t begin = 0;
  uint64_t end = 0;
  std::thread::id thread;
};

void record_call(const Launch& launch, uint64_t begin, uint64_t end, Scratch&) {
  launch.data<Call>(0)[begin] = {begin, end, std::this_thread::get_id()};
}

void fail(const Launch&, uint64_t, uint64_t, Scratch&) { throw MemoryError("the kernel's error"); }

constexpr KernelEntry kEntries[] = {{"add_value", add_value},
                                    {"add_one_through_scratch", add_one_through_scratch},
                                    {"record_call", record_call},
                                    {"fail", fail}};
constexpr KernelTable kTable{"test-isa", kEntries};

template <class T>
Launch make_launch(const char* kernel, std::vector<T>& data, uint64_t cost) {
  Launch launch;
  launch.kernel = kernel;
  launch.grid.x = static_cast<uint32_t>(data.size());
  launch.buffers[0] = {
      {data.data(), data.size() * sizeof(T), nullptr}, 0, data.size() * sizeof(T), Access::kReadWrite};
  launch.cost = cost;
  launch.set_params(AddParams{1});
  return launch;
}

TEST(CpuDeviceTest, TellsWhatItIs) {
  const auto device = make_cpu_device(kTable, 3);
  EXPECT_EQ(device->name(), "cpu");
  EXPECT_TRUE(device->reads_host_memory());
  EXPECT_EQ(device->limits().compute_units, 3u);
  EXPECT_EQ(device->limits().lanes, 1u);
  std::map<std::string, std::string> info;
  for (const auto& [key, value] : device->info()) info[key] = value;
  EXPECT_EQ(info.at("name"), "cpu");
  EXPECT_EQ(info.at("threads"), "3");
  EXPECT_EQ(info.at("instruction_set"), "test-isa");
  EXPECT_FALSE(info.at("model").empty());
  EXPECT_FALSE(info.at("instruction_sets").empty());
  device->set_pool_limit(uint64_t{5} << 20);
  info.clear();
  for (const auto& [key, value] : device->info()) info[key] = value;
  EXPECT_EQ(info.at("pool_limit"), "5 MiB");
}

TEST(CpuDeviceTest, LaunchHasFinishedWhenItReturns) {
  const auto device = make_cpu_device(kTable, 3);
  device->warm_up();
  for (const uint64_t cost : {uint64_t{0}, kLarge}) {
    for (const char* kernel : {"add_value", "add_one_through_scratch"}) {
      std::vector<int32_t> data(5000, 41);
      device->launch(make_launch(kernel, data, cost));
      EXPECT_EQ(data, std::vector<int32_t>(5000, 42)) << kernel << " " << cost;
    }
  }
  device->wait();
}

TEST(CpuDeviceTest, SmallLaunchesStayOnTheCallingThread) {
  const auto device = make_cpu_device(kTable, 4);
  std::vector<Call> calls(64);
  device->launch(make_launch("record_call", calls, 1000));
  EXPECT_EQ(calls[0].end, 64u) << "one call takes all groups";
  EXPECT_EQ(calls[0].thread, std::this_thread::get_id());
  device->launch(make_launch("record_call", calls, kLarge));
  EXPECT_EQ(calls[0].end, 1u) << "groups of a large launch are shared out";
}

TEST(CpuDeviceTest, EmptyGridRunsNothing) {
  const auto device = make_cpu_device(kTable, 2);
  std::vector<int32_t> none;
  device->launch(make_launch("fail", none, 0));
  device->launch(make_launch("fail", none, kLarge));
}

TEST(CpuDeviceTest, UnknownKernelIsAnError) {
  const auto device = make_cpu_device(kTable, 2);
  std::vector<int32_t> data(3);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(test::thrown_text<KernelError>([&] { device->launch(make_launch("absent", data, 0)); }),
              "cpu: no kernel 'absent' for instruction set test-isa");
  }
  device->launch(make_launch("add_value", data, 0));
  EXPECT_EQ(data, std::vector<int32_t>(3, 1));
}

TEST(CpuDeviceTest, ErrorOfAKernelIsThrownByLaunch) {
  const auto device = make_cpu_device(kTable, 2);
  std::vector<int32_t> data(100);
  for (const uint64_t cost : {uint64_t{0}, kLarge}) {
    EXPECT_EQ(test::thrown_text<MemoryError>([&] { device->launch(make_launch("fail", data, cost)); }),
              "the kernel's error");
    device->wait();
    device->launch(make_launch("add_value", data, cost));
  }
  EXPECT_EQ(data, std::vector<int32_t>(100, 2));
}

TEST(CpuDeviceTest, ComparesKernelNamesByText) {
  const auto device = make_cpu_device(kTable, 1);
  std::vector<int32_t> data(1);
  // More names than the cache has slots, at addresses of their own and next to each other.
  std::vector<std::string> names(1000, "add_value");
  for (size_t i = 0; i < names.size(); i += 3) names[i] = "add_one_through_scratch";
  for (int round = 0; round < 2; ++round) {
    for (const std::string& name : names) device->launch(make_launch(name.c_str(), data, 0));
  }
  EXPECT_EQ(data[0], 2000);
}

TEST(CpuDeviceTest, MemoryIsAligned) {
  const auto device = make_cpu_device(kTable, 1);
  for (const uint64_t size :
       {uint64_t{0}, uint64_t{1}, uint64_t{5000}, uint64_t{2} << 20, (uint64_t{5} << 20) + 1}) {
    const Buffer buffer = device->allocate(size);
    EXPECT_GE(buffer.size, size);
    EXPECT_EQ(buffer.handle, nullptr);
    const auto address = reinterpret_cast<uintptr_t>(buffer.contents);
    EXPECT_EQ(address % (size >= (2 << 20) ? 2 << 20 : 64), 0u) << size;
    std::memset(buffer.contents, 1, buffer.size);
    device->release(buffer);
  }
  device->trim_pool();
  EXPECT_EQ(device->pool_statistics().bytes_cached, 0u);
}

TEST(CpuDeviceTest, BuffersPast4GibibytesAreUsableAtBothEnds) {
  const auto device = make_cpu_device(kTable, 1);
  const uint64_t size = (uint64_t{5} << 30) + 1;
  const Buffer buffer = device->allocate(size);
  auto* const bytes = static_cast<unsigned char*>(buffer.contents);
  bytes[0] = 1;
  bytes[size - 1] = 2;
  EXPECT_EQ(bytes[size - 1], 2);
  device->set_pool_limit(0);
  device->release(buffer);
  EXPECT_EQ(device->pool_statistics().bytes_cached, 0u);
}

TEST(CpuDeviceTest, SizesThatNoMachineHasThrow) {
  const auto device = make_cpu_device(kTable, 1);
  for (const uint64_t size : {UINT64_MAX, UINT64_MAX / 2, uint64_t{1} << 62, uint64_t{1} << 50}) {
    EXPECT_THROW(device->allocate(size), MemoryError);
  }
  EXPECT_EQ(device->pool_statistics().bytes_in_use, 0u);
}

TEST(CpuDeviceTest, ReleasedBuffersAreReused) {
  const auto device = make_cpu_device(kTable, 1);
  const Buffer first = device->allocate(100000);
  device->release(first);
  device->release(first);
  EXPECT_EQ(device->allocate(100000).contents, first.contents);
  EXPECT_NE(device->allocate(100000).contents, first.contents);
  EXPECT_EQ(device->pool_statistics().reuses, 1u);
}

TEST(CpuDeviceTest, WrapKeepsTheCallersMemory) {
  const auto device = make_cpu_device(kTable, 1);
  std::vector<int32_t> data(10);
  const Buffer buffer = device->wrap(data.data(), 40);
  EXPECT_EQ(buffer.contents, data.data());
  EXPECT_EQ(buffer.size, 40u);
  device->release(buffer);
  EXPECT_EQ(device->pool_statistics().bytes_cached, 0u);
}

TEST(CpuDeviceTest, ScratchBufferGoesBack) {
  const auto device = make_cpu_device(kTable, 1);
  {
    ScratchBuffer scratch(*device, 10000);
    ScratchBuffer moved(std::move(scratch));
    EXPECT_EQ(device->pool_statistics().bytes_in_use, 10240u);
    ScratchBuffer other(*device, 4096);
    other = std::move(moved);
  }
  EXPECT_EQ(device->pool_statistics().bytes_in_use, 0u);
  EXPECT_EQ(device->pool_statistics().bytes_cached, 14336u);
}

TEST(CpuDeviceTest, FourThreadsLaunchAtOnce) {
  const auto device = make_cpu_device(kTable, 3);
  std::vector<std::vector<int32_t>> data(4, std::vector<int32_t>(500));
  std::vector<std::thread> callers;
  for (std::vector<int32_t>& mine : data) {
    callers.emplace_back([&device, &mine] {
      for (int i = 0; i < 300; ++i) {
        const ScratchBuffer scratch(*device, 4096);
        device->launch(
            make_launch(i % 2 == 0 ? "add_value" : "add_one_through_scratch", mine, i % 3 == 0 ? 0 : kLarge));
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::vector<int32_t>& mine : data) EXPECT_EQ(mine, std::vector<int32_t>(500, 300));
}

TEST(CpuDeviceTest, WorksInAChildForkedDuringLaunches) {
  METALHEAD_SKIP_WHERE_CHILDREN_INHERIT_LOCKS();
  const auto device = make_cpu_device(kTable, 3);
  std::atomic<bool> stop{false};
  std::vector<std::thread> callers;
  for (int id = 0; id < 2; ++id) {
    callers.emplace_back([&] {
      std::vector<int32_t> data(200);
      while (!stop) {
        const ScratchBuffer scratch(*device, 4096);
        device->launch(make_launch("add_value", data, kLarge));
      }
    });
  }
  int succeeded = 0;
  for (int i = 0; i < 40; ++i) {
    succeeded += test::succeeds_in_child([&] {
      std::vector<int32_t> data(300);
      const ScratchBuffer scratch(*device, 4096);
      device->launch(make_launch("add_value", data, kLarge));
      return data == std::vector<int32_t>(300, 1);
    });
  }
  stop = true;
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(succeeded, 40);
}

TEST(KernelTableTest, AvailableTablesAreDistinctAndSelectable) {
  const std::vector<KernelTable>& tables = available_kernel_tables();
  ASSERT_FALSE(tables.empty());
  std::set<std::string_view> names;
  for (const KernelTable& table : tables) {
    EXPECT_TRUE(names.insert(table.instruction_set).second);
    EXPECT_EQ(&select_kernel_table(table.instruction_set), &table);
    EXPECT_NE(available_instruction_sets().find(table.instruction_set), std::string::npos);
    std::set<std::string_view> kernels;
    for (const KernelEntry& entry : table.entries) {
      EXPECT_TRUE(kernels.insert(entry.name).second) << entry.name;
      EXPECT_EQ(table.find(entry.name), entry.function);
    }
  }
  EXPECT_EQ(&select_kernel_table(""), &tables.front());
}

TEST(KernelTableTest, BFloat16ProductsReplaceNothingButSdpa) {
  const std::vector<KernelTable>& tables = available_kernel_tables();
  const auto named = [&](std::string_view name) {
    return std::find_if(tables.begin(), tables.end(),
                        [&](auto& table) { return table.instruction_set == name; });
  };
  if (named("avx512") == tables.end()) GTEST_SKIP() << "this machine has no AVX-512";
  const auto expect_replaced = [&](std::string_view name, const std::set<std::string_view>& replaced) {
    if (named(name) == tables.end()) return;
    ASSERT_EQ(named(name)->entries.size(), named("avx512")->entries.size());
    for (const KernelEntry& entry : named("avx512")->entries) {
      EXPECT_EQ(named(name)->find(entry.name) != entry.function, replaced.contains(entry.name)) << entry.name;
    }
  };
  for (const char* name : {"avx512_bf16_emulated", "amx_bf16_emulated"}) {
    EXPECT_NE(named(name), tables.end()) << "builds with tests have " << name;
  }
  for (const char* name : {"avx512_bf16", "avx512_bf16_emulated"}) expect_replaced(name, {"sdpa"});
  for (const char* name : {"amx_bf16", "amx_bf16_emulated"}) expect_replaced(name, {"sdpa", "tq_sdpa"});
}

TEST(KernelTableTest, AnEmulatedInstructionSetIsNoBodysDefault) {
  EXPECT_EQ(select_kernel_table("").instruction_set.find("emulated"), std::string_view::npos);
}

#if defined(__x86_64__)
TEST(KernelTableTest, BFloat16DotProductsAreTheDefaultWhereTheyAreFast) {
  const auto& tables = available_kernel_tables();
  const auto has = [&](std::string_view name) {
    return std::ranges::any_of(tables, [&](auto& table) { return table.instruction_set == name; });
  };
  if (!has("avx512_bf16")) GTEST_SKIP() << "this machine has no bfloat16 dot products";
  EXPECT_EQ(tables.front().instruction_set, has("amx_bf16")           ? "amx_bf16"
                                            : __builtin_cpu_is("amd") ? "avx512_bf16"
                                                                      : "avx512");
}
#endif

TEST(KernelTableTest, UnknownInstructionSetListsWhatThereIs) {
  EXPECT_EQ(test::thrown_text<DeviceError>([] { select_kernel_table("avx9"); }),
            concat("cpu: instruction_set must be one that this build has and this machine runs (",
                   available_instruction_sets(), "), got 'avx9'"));
}

}  // namespace
}  // namespace metalhead::cpu
