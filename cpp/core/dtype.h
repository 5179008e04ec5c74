// Element types that a tensor may hold.
#pragma once

#include <cstdint>
#include <string_view>

namespace metalhead {

enum class DType : uint8_t { kFloat32, kFloat16, kBFloat16, kUInt8, kInt32, kBool };

/// Bytes of one element.
constexpr uint32_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kInt32:
      return 4;
    case DType::kFloat16:
    case DType::kBFloat16:
      return 2;
    case DType::kUInt8:
    case DType::kBool:
      return 1;
  }
  return 0;
}

/// NumPy's name of the type, which is also the suffix of kernels instantiated for it.
constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float32";
    case DType::kFloat16:
      return "float16";
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kUInt8:
      return "uint8";
    case DType::kInt32:
      return "int32";
    case DType::kBool:
      return "bool";
  }
  return "?";
}

/// True for the types that attention computes on: float32, float16, bfloat16.
constexpr bool is_floating(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kFloat16 || dtype == DType::kBFloat16;
}

}  // namespace metalhead
