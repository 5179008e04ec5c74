// The list of instruction sets, each with the test that tells whether this machine runs it.
#include "devices/cpu/kernel_table.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "core/error.h"
#include "core/fork.h"

namespace metalhead::cpu {

// Defined by kernels/kernel_list.cpp, which is compiled once for each instruction set.
namespace isa_x86_64_v2 {
const KernelTable& kernel_table();
}
namespace isa_avx2 {
const KernelTable& kernel_table();
}
namespace isa_avx512 {
const KernelTable& kernel_table();
}
// Defined by kernels/amx/sdpa_amx.cpp.
namespace isa_amx_bf16 {
void sdpa(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch);
}
namespace isa_amx_bf16_emulated {
void sdpa(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch);
}
// Defined by kernels/bf16/sdpa_bf16.cpp.
namespace isa_avx512_bf16 {
void sdpa(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch);
}
namespace isa_avx512_bf16_emulated {
void sdpa(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch);
}
namespace isa_neon {
const KernelTable& kernel_table();
}

namespace {

#if defined(__x86_64__)
[[maybe_unused]] bool runs_x86_64_v2() {
  return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
}

bool has_f16c() {
  // Asked of the processor itself: not every compiler's __builtin_cpu_supports knows the name.
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

// The compiler's tests below also ask whether the system saves the wide registers.
bool runs_avx2() {
  return runs_x86_64_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && has_f16c();
}

[[maybe_unused]] bool runs_avx512() {
  return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512cd");
}

// Asked of the processor itself: not every compiler's __builtin_cpu_supports knows the name.
[[maybe_unused]] bool runs_avx512_bf16() {
  constexpr unsigned kAvx512Bf16 = 1u << 5;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return runs_avx512() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & kAvx512Bf16) != 0;
}

/// Linux lets a process use tile registers once it has asked for them; other systems are not known to.
[[maybe_unused]] bool tile_registers_are_granted() {
#ifdef __linux__
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

[[maybe_unused]] bool runs_amx_bf16() {
  constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return runs_avx512_bf16() && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 &&
         (edx & kAmxBf16) != 0 && (edx & kAmxTile) != 0 && tile_registers_are_granted();
}

/// bfloat16 dot products at twice the rate of float32 multiply-adds. Intel's, measured on Emerald Rapids,
/// run at half of it: its kernels are there for those who name them.
[[maybe_unused]] bool gains_by_avx512_bf16() { return runs_avx512_bf16() && __builtin_cpu_is("amd"); }
[[maybe_unused]] bool only_runs_avx512_bf16() { return runs_avx512_bf16() && !gains_by_avx512_bf16(); }
#endif

#ifdef METALHEAD_HAVE_ISA_AVX512
/// The AVX-512 kernels with another sdpa, and tq_sdpa if given. Each instruction set has one, so the entries
/// live as long as the program.
template <KernelFunction kSdpa, KernelFunction kPackedSdpa = nullptr>
const KernelTable& avx512_table_with(std::string_view instruction_set) {
  static const std::vector<KernelEntry> kEntries = [] {
    const std::span<const KernelEntry> avx512 = isa_avx512::kernel_table().entries;
    std::vector<KernelEntry> entries(avx512.begin(), avx512.end());
    for (KernelEntry& entry : entries) {
      if (entry.name == "sdpa") entry.function = kSdpa;
      if (entry.name == "tq_sdpa" && kPackedSdpa != nullptr) entry.function = kPackedSdpa;
    }
    return entries;
  }();
  static const KernelTable kTable{instruction_set, kEntries};
  return kTable;
}
#endif

struct Level {
  const KernelTable& (*table)();
  bool (*runs_here)();
};

#ifdef METALHEAD_HAVE_ISA_AVX512_BF16
const KernelTable& avx512_bf16_table() { return avx512_table_with<isa_avx512_bf16::sdpa>("avx512_bf16"); }
#endif
#ifdef METALHEAD_HAVE_ISA_AMX_BF16
const KernelTable& amx_bf16_table() {
  return avx512_table_with<isa_amx_bf16::sdpa, isa_amx_bf16::sdpa>("amx_bf16");
}
#endif

/// Every instruction set of this build, the fastest one first; an emulated one, only ever by name, last.
const std::vector<Level>& levels() {
  static const std::vector<Level> kLevels = {
#ifdef METALHEAD_HAVE_ISA_AMX_BF16
      {amx_bf16_table, runs_amx_bf16},
#endif
#ifdef METALHEAD_HAVE_ISA_AVX512_BF16
      {avx512_bf16_table, gains_by_avx512_bf16},
#endif
#ifdef METALHEAD_HAVE_ISA_AVX512
      {isa_avx512::kernel_table, runs_avx512},
#endif
#ifdef METALHEAD_HAVE_ISA_AVX512_BF16
      {avx512_bf16_table, only_runs_avx512_bf16},
#endif
#ifdef METALHEAD_HAVE_ISA_AVX2
      {isa_avx2::kernel_table, runs_avx2},
#endif
#ifdef METALHEAD_HAVE_ISA_X86_64_V2
      {isa_x86_64_v2::kernel_table, runs_x86_64_v2},
#endif
#ifdef METALHEAD_HAVE_ISA_NEON
      {isa_neon::kernel_table, [] { return true; }},
#endif
#ifdef METALHEAD_HAVE_ISA_AVX512_BF16_EMULATED
      {[]() -> const KernelTable& {
         return avx512_table_with<isa_avx512_bf16_emulated::sdpa>("avx512_bf16_emulated");
       },
       runs_avx512},
#endif
#ifdef METALHEAD_HAVE_ISA_AMX_BF16_EMULATED
      {[]() -> const KernelTable& {
         return avx512_table_with<isa_amx_bf16_emulated::sdpa, isa_amx_bf16_emulated::sdpa>(
             "amx_bf16_emulated");
       },
       runs_avx512},
#endif
  };
  return kLevels;
}

ForkSafeLazy<std::vector<KernelTable>> tables_of_machine([] {
  std::vector<KernelTable> tables;
  for (const Level& level : levels()) {
    if (level.runs_here()) tables.push_back(level.table());
  }
  return tables;
});

}  // namespace

KernelFunction KernelTable::find(std::string_view name) const {
  for (const KernelEntry& entry : entries) {
    if (entry.name == name) return entry.function;
  }
  throw KernelError(concat("cpu: no kernel '", name, "' for instruction set ", instruction_set));
}

const std::vector<KernelTable>& available_kernel_tables() { return tables_of_machine.get(); }

std::string available_instruction_sets() {
  std::string text;
  for (const KernelTable& table : available_kernel_tables()) {
    text += (text.empty() ? "" : ", ") + std::string(table.instruction_set);
  }
  return text.empty() ? "none" : text;
}

const KernelTable& select_kernel_table(std::string_view instruction_set) {
  for (const KernelTable& table : available_kernel_tables()) {
    if (instruction_set.empty() || table.instruction_set == instruction_set) return table;
  }
  throw DeviceError(concat("cpu: instruction_set must be one that this build has and this machine runs (",
                           available_instruction_sets(), "), got '", instruction_set, "'"));
}

}  // namespace metalhead::cpu
