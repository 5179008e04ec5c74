// What the machine can do: streaming reads, and register-only chains of multiply-adds and dot products.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>
#if defined(__AVX512BF16__) || defined(__AVX512VNNI__)
#include <immintrin.h>
#endif
#if defined(__AMX_BF16__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(__AVX512F__)
constexpr size_t kVectorBytes = 64;
#elif defined(__AVX__)
constexpr size_t kVectorBytes = 32;
#else
constexpr size_t kVectorBytes = 16;
#endif
// Hides a register's value from the compiler, so that it can neither fold a chain nor drop a load.
#if defined(__aarch64__)
#define BENCH_OPAQUE(x) __asm__ volatile("" : "+w"(x))
#else
#define BENCH_OPAQUE(x) __asm__ volatile("" : "+v"(x))
#endif

namespace {

using Floats = float __attribute__((vector_size(kVectorBytes)));
using Words = uint64_t __attribute__((vector_size(kVectorBytes)));
using Clock = std::chrono::steady_clock;

constexpr int kChains = 12;         // more than latency times units, fewer than registers
constexpr size_t kBlock = 512;      // bytes that one step of a stream reads
constexpr size_t kPrefetch = 2048;  // bytes ahead, where a loop asks for them
constexpr size_t kMostStreams = 16;

/// Seconds from the moment that all threads are ready until the last one has finished.
template <typename Work>
double team_seconds(int threads, const Work& work) {
  std::atomic<int> ready{0};
  std::vector<Clock::time_point> begin(static_cast<size_t>(threads)), end(begin.size());
  const auto run = [&](int index) {
    ready.fetch_add(1);
    while (ready.load() < threads) std::this_thread::yield();
    begin[static_cast<size_t>(index)] = Clock::now();
    work(index);
    end[static_cast<size_t>(index)] = Clock::now();
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(run, i);
  run(0);
  for (std::thread& other : others) other.join();
  Clock::time_point first = begin[0], last = end[0];
  for (const auto& time : begin) first = time < first ? time : first;
  for (const auto& time : end) last = time > last ? time : last;
  return std::chrono::duration<double>(last - first).count();
}

/// Many streams are left to the hardware to fetch ahead.
template <size_t streams>
void read_streams(const char* data, size_t bytes) {
  constexpr size_t kLoads = kBlock / kVectorBytes;
  const size_t stream = bytes / streams / kBlock * kBlock;
  Words sums[kLoads] = {};
  for (size_t at = 0; at < stream; at += kBlock) {
    for (size_t s = 0; s < streams; ++s) {
      const char* block = data + s * stream + at;
      if (streams <= 2) {
        for (size_t line = 0; line < kBlock; line += 64) __builtin_prefetch(block + kPrefetch + line);
      }
#pragma GCC unroll 32
      for (size_t i = 0; i < kLoads; ++i) sums[i] |= reinterpret_cast<const Words*>(block)[i];
    }
  }
#pragma GCC unroll 32
  for (size_t i = 0; i < kLoads; ++i) BENCH_OPAQUE(sums[i]);
}

/// A function of its own: inlined into a thread's work, its sums would not stay in registers.
template <typename Vector, typename Step>
[[gnu::noinline]] void chains(int64_t steps, Vector a, Vector b, const Step& step) {
  Vector sums[kChains] = {};
  // Equal chains would be merged into one.
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) BENCH_OPAQUE(sums[i]);
  for (int64_t k = 0; k < steps; ++k) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = step(sums[i], a, b);
    BENCH_OPAQUE(a);
    BENCH_OPAQUE(b);
  }
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) BENCH_OPAQUE(sums[i]);
}

#if defined(__AMX_BF16__) && defined(__linux__)
/// Asks Linux once for the tile registers.
bool has_tiles() {
  static const bool kGranted = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
  return kGranted;
}

/// `steps` times kChains products of tiles of 16 rows and 16 columns, 32 terms each, in four sums.
void tile_products(int64_t steps) {
  alignas(64) unsigned char configuration[64] = {1};
  for (int i = 0; i < 8; ++i) configuration[16 + 2 * i] = 64, configuration[48 + i] = 16;
  asm volatile("ldtilecfg %0" ::"m"(configuration));
  for (int64_t k = 0; k < steps * kChains / 4; ++k) {
    asm volatile(
        "tdpbf16ps %tmm6, %tmm4, %tmm0\n tdpbf16ps %tmm7, %tmm4, %tmm1\n"
        "tdpbf16ps %tmm6, %tmm5, %tmm2\n tdpbf16ps %tmm7, %tmm5, %tmm3");
  }
  asm volatile("tilerelease");
}
#else
constexpr bool has_tiles() { return false; }
inline void tile_products(int64_t /*steps*/) {}
#endif

}  // namespace

extern "C" {

/// Bytes that bench_read reads of `bytes`.
uint64_t bench_read_work(int threads, uint64_t bytes) {
  constexpr size_t kUnit = kMostStreams * kBlock;
  return bytes / static_cast<size_t>(threads) / kUnit * kUnit * static_cast<size_t>(threads);
}

/// Seconds to read `bytes` from `data` (64-byte aligned), shared out evenly; 1, 2, 8 or 16 streams for each
/// thread.
double bench_read(int threads, const char* data, uint64_t bytes, int streams) {
  const size_t share = bench_read_work(threads, bytes) / static_cast<size_t>(threads);
  return team_seconds(threads, [&](int index) {
    const char* begin = data + static_cast<size_t>(index) * share;
    if (streams == 1) read_streams<1>(begin, share);
    if (streams == 2) read_streams<2>(begin, share);
    if (streams == 8) read_streams<8>(begin, share);
    if (streams == 16) read_streams<16>(begin, share);
  });
}

/// Operations of one call of bench_peak on all threads: 0 float32, 1 bfloat16 products, in tiles if there
/// are, 2 int8 dots; 0 if missing.
double bench_peak_work(int kind, int threads, int64_t steps) {
  const double chains = static_cast<double>(threads) * static_cast<double>(steps) * kChains;
  if (kind == 0) return chains * 2 * (kVectorBytes / sizeof(float));
  if (kind == 1 && has_tiles()) return chains * 2 * 16 * 16 * 32;
#ifdef __AVX512BF16__
  if (kind == 1) return chains * 2 * 32;
#endif
#ifdef __AVX512VNNI__
  if (kind == 2) return chains * 2 * 64;
#endif
  return 0;
}

/// Seconds of `steps` rounds over the chains, on every thread.
double bench_peak(int kind, int threads, int64_t steps) {
  return team_seconds(threads, [&](int) {
    if (kind == 0) {
      chains(steps, Floats{} + 1.0F, Floats{} + 1e-9F,
             [](Floats s, Floats a, Floats b) { return s * a + b; });
    }
    if (kind == 1 && has_tiles()) return tile_products(steps);
#ifdef __AVX512BF16__
    if (kind == 1) {
      const __m512 one = _mm512_set1_ps(1.0F);
      chains(steps, one, one,
             [](__m512 s, __m512 a, __m512 b) { return _mm512_dpbf16_ps(s, (__m512bh)a, (__m512bh)b); });
    }
#endif
#ifdef __AVX512VNNI__
    if (kind == 2) {
      const __m512i one = _mm512_set1_epi8(1);
      chains(steps, one, one, [](__m512i s, __m512i a, __m512i b) { return _mm512_dpbusd_epi32(s, a, b); });
    }
#endif
  });
}
}
