// Which dtypes of a launch are part of its kernel's host name, and which are function constants instead.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace metalhead::metal {

struct KernelNameRule {
  std::string_view kernel;
  uint32_t named_dtypes;  ///< bit i set: the name of the launch's dtype i follows the kernel's
};

/// These kernels get every dtype as function constant kConstantDType0 + i. Kernels that are not listed name
/// all of theirs.
constexpr std::array<KernelNameRule, 9> kKernelNameRules = {{
    {"sdpa", 0b0010},
    {"flash_attn_vec", 0b0010},
    {"tq_sdpa", 0},
    {"tq_flash_attn_vec", 0},
    {"flash_attn_vec_reduce", 0},
    {"store_partial", 0},
    {"tq_encode", 0},
    {"tq_decode", 0},
    {"hadamard", 0},
}};

/// nullptr for a kernel without a rule.
constexpr const KernelNameRule* name_rule_of(std::string_view kernel) {
  for (const KernelNameRule& rule : kKernelNameRules) {
    if (rule.kernel == kernel) return &rule;
  }
  return nullptr;
}

}  // namespace metalhead::metal
