// A launch: everything a device needs to run one kernel, as plain data that fits on the stack.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>

#include "core/dtype.h"
#include "core/tensor.h"

namespace metalhead {

enum class Access : uint8_t { kRead = 1, kWrite = 2, kReadWrite = 3 };

/// The bytes `[offset, offset + length)` of a buffer, bound to one slot of a kernel.
struct BufferBinding {
  Buffer buffer;
  uint64_t offset = 0;
  uint64_t length = 0;
  Access access = Access::kRead;

  bool bound() const { return length > 0; }
  std::byte* data() const { return static_cast<std::byte*>(buffer.contents) + offset; }
};

struct Size3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
};

constexpr int kMaxFunctionConstants = 32;
constexpr int kMaxBindings = 16;
constexpr int kMaxKernelDTypes = 4;
constexpr size_t kMaxParamsBytes = 640;

/// Values that specialise a kernel; a boolean is 0 or 1. Indices are named in
/// `metal/params/function_constants.h`.
struct FunctionConstants {
  std::array<uint32_t, kMaxFunctionConstants> values{};
  uint32_t set_mask = 0;
  uint32_t bool_mask = 0;

  void set_bool(int index, bool value) {
    set_uint(index, value ? 1 : 0);
    bool_mask |= 1u << index;
  }
  void set_uint(int index, uint32_t value) {
    assert(index >= 0 && index < kMaxFunctionConstants);
    values[static_cast<size_t>(index)] = value;
    set_mask |= 1u << index;
  }
  uint32_t operator[](int index) const { return values[static_cast<size_t>(index)]; }
  bool operator==(const FunctionConstants&) const = default;
};

/// One kernel run. `kernel` is an interned name: compare the text, keep the pointer.
struct Launch {
  const char* kernel = nullptr;
  std::array<DType, kMaxKernelDTypes>
      dtypes{};  ///< storage types in the order that the kernel's name lists them
  int dtype_count = 0;
  FunctionConstants constants;
  std::array<BufferBinding, kMaxBindings> buffers;  ///< by slot; unbound slots have length 0
  Size3 grid;                                       ///< threadgroups
  Size3 threads;                                    ///< threads of one threadgroup
  uint32_t threadgroup_bytes = 0;
  uint64_t cost = 0;  ///< about how many multiply-adds the launch takes; devices may size their effort by it
  uint32_t params_size = 0;
  alignas(16) std::array<std::byte, kMaxParamsBytes> params_bytes;

  template <class Params>
  void set_params(const Params& params) {
    static_assert(std::is_trivially_copyable_v<Params> && sizeof(Params) <= kMaxParamsBytes);
    std::memcpy(params_bytes.data(), &params, sizeof(Params));
    params_size = sizeof(Params);
  }

  /// The params, zeroed, to be filled in place.
  template <class Params>
  Params& zeroed_params() {
    static_assert(std::is_trivially_copyable_v<Params> && sizeof(Params) <= kMaxParamsBytes);
    params_size = sizeof(Params);
    return *new (params_bytes.data()) Params{};
  }

  template <class Params>
  const Params& params() const {
    assert(params_size == sizeof(Params));
    return *reinterpret_cast<const Params*>(params_bytes.data());
  }

  void add_dtype(DType dtype) {
    assert(dtype_count < kMaxKernelDTypes);
    dtypes[static_cast<size_t>(dtype_count++)] = dtype;
  }

  void bind(int slot, const Tensor& tensor, Access access) {
    assert(slot >= 0 && slot < kMaxBindings);
    buffers[static_cast<size_t>(slot)] = {tensor.buffer, tensor.byte_offset, tensor.span_bytes(), access};
  }
  const BufferBinding& binding(int slot) const { return buffers[static_cast<size_t>(slot)]; }

  /// Host address of a slot's first byte, nullptr if the slot is not bound.
  template <class T>
  T* data(int slot) const {
    const BufferBinding& b = binding(slot);
    return b.bound() ? reinterpret_cast<T*>(b.data()) : nullptr;
  }
};

}  // namespace metalhead
