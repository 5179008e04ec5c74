// The bfloat rounding that clang calls and libgcc 12 lacks; weak, so that a newer runtime library wins.
#include <bit>
#include <cstdint>

namespace {

std::uint16_t round_to_bfloat(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace

// A 16-bit float returns in the same register whatever its format, so _Float16 stands for __bf16 here.
extern "C" __attribute__((weak)) _Float16 __truncsfbf2(float value) {
  return std::bit_cast<_Float16>(round_to_bfloat(value));
}
