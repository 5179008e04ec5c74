// Arrays of any element type that end at an unreadable page: reading or writing past the end is a crash, not
// luck.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "core/dtype.h"
#include "core/launch.h"

namespace metalhead::test {

/// Rounds to nearest, ties to even.
inline uint16_t to_bfloat16_bits(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
inline float from_bfloat16_bits(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

inline float from_float16_bits(uint16_t bits) {
  const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  float magnitude = std::ldexp(static_cast<float>(exponent != 0 ? 1024 + mantissa : mantissa),
                               exponent != 0 ? exponent - 25 : -24);
  if (exponent == 31) magnitude = mantissa != 0 ? NAN : INFINITY;
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}
inline uint16_t to_float16_bits(float x) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const float magnitude = std::fabs(x);
  if (std::isnan(x)) return 0x7e00;
  if (magnitude >= 65520.0f) return static_cast<uint16_t>(sign | 0x7c00);
  if (magnitude < 0x1p-14f)
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24f)));
  int exponent;
  const float fraction = std::frexp(magnitude, &exponent);  // in [0.5, 1)
  const int mantissa = static_cast<int>(std::nearbyint(fraction * 2048.0f));
  return static_cast<uint16_t>(sign | (((exponent + 13) << 10) + mantissa));
}

class GuardedArray {
 public:
  GuardedArray() = default;
  GuardedArray(DType dtype, int64_t count) : dtype_(dtype), count_(count) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t size = static_cast<size_t>(count) * size_of(dtype);
    const size_t mapped = (size + page - 1) / page * page + page;
    void* memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    mprotect(static_cast<char*>(memory) + mapped - page, page, PROT_NONE);
    memory_ = {static_cast<char*>(memory), Unmap{mapped}};
    data_ = memory_.get() + mapped - page - size;
  }

  DType dtype() const { return dtype_; }
  int64_t count() const { return count_; }
  bool defined() const { return data_ != nullptr; }

  float get(int64_t i) const {
    switch (dtype_) {
      case DType::kFloat32:
        return read<float>(i);
      case DType::kFloat16:
        return from_float16_bits(read<uint16_t>(i));
      case DType::kBFloat16:
        return from_bfloat16_bits(read<uint16_t>(i));
      case DType::kInt32:
        return static_cast<float>(read<int32_t>(i));
      default:
        return read<uint8_t>(i);
    }
  }
  void set(int64_t i, float value) {
    switch (dtype_) {
      case DType::kFloat32:
        return write(i, value);
      case DType::kFloat16:
        return write(i, to_float16_bits(value));
      case DType::kBFloat16:
        return write(i, to_bfloat16_bits(value));
      case DType::kInt32:
        return write(i, static_cast<int32_t>(value));
      default:
        return write(i, static_cast<uint8_t>(value));
    }
  }

  void bind(Launch& launch, int slot, Access access) const {
    BufferBinding binding;
    binding.buffer.contents = data_;
    binding.buffer.size = static_cast<uint64_t>(count_) * size_of(dtype_);
    binding.length = binding.buffer.size;
    binding.access = access;
    launch.buffers[static_cast<size_t>(slot)] = binding;
  }

 private:
  struct Unmap {
    size_t size;
    void operator()(char* memory) const { munmap(memory, size); }
  };

  template <class T>
  T read(int64_t i) const {
    T value;
    std::memcpy(&value, data_ + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    return value;
  }
  template <class T>
  void write(int64_t i, T value) {
    std::memcpy(data_ + i * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
  }

  DType dtype_ = DType::kFloat32;
  int64_t count_ = 0;
  std::unique_ptr<char, Unmap> memory_{nullptr, Unmap{0}};
  char* data_ = nullptr;
};

}  // namespace metalhead::test
