// Expands tiles of packed keys (transposed) or values into bfloat16 parts of their levels.
#include "devices/cpu/kernels/amx/tq_part_loader.h"

#include "devices/cpu/kernels/bf16/split.h"
#include "devices/cpu/kernels/tq_transposed_codes.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {
namespace {

/// The parts of store_parts of a level: the first two in one word, and the third in the upper half of one.
struct LevelParts {
  uint32_t leading, third;
};

constexpr LevelParts parts_of(float level) {
  constexpr uint32_t kUpper = 0xffff0000u;
  const auto bits = [](float x) { return __builtin_bit_cast(uint32_t, x); };
  const uint32_t first = bits(level) & kUpper;
  const float rest = level - __builtin_bit_cast(float, first);
  const uint32_t second = (bits(rest) + 0x8000u) & kUpper;
  const float last = rest - __builtin_bit_cast(float, second);
  return {first | second >> 16, (bits(last) + 0x8000u) & kUpper};
}

/// Those of a codebook, laid out as PaddedLevels is.
template <int kBits>
struct PaddedParts {
  static constexpr int kCount = PaddedLevels<kBits>::kTables > 0 ? 16 * PaddedLevels<kBits>::kTables : 1;
  uint32_t leading[kCount], third[kCount];
  constexpr PaddedParts() : leading{}, third{} {
    for (int i = 0; i < kCount; ++i) {
      const LevelParts parts = parts_of(kPaddedLevels<kBits>.values[i]);
      leading[i] = parts.leading;
      third[i] = parts.third;
    }
  }
};
template <int kBits>
inline constexpr PaddedParts<kBits> kPaddedParts;

/// Stores kParts bfloat16 of pairs of levels by their codes.
template <int kBits, int kParts>
class PartTable {
 public:
  /// Bits above a code may be set. Part p goes to `to` + p * part_stride.
  METALHEAD_INLINE void store_pairs(I32 first, I32 second, int32_t* to, int64_t part_stride) const {
    constexpr int32_t kUpper = -65536;
    const I32 low = as_int(leading_.of_low_bits(first)), high = as_int(leading_.of_low_bits(second));
    store(to, select_bits(kUpper, high, shift_right<16>(low)));
    if constexpr (kParts >= 2) store(to + part_stride, select_bits(kUpper, shift_left<16>(high), low));
    if constexpr (kParts == 3) store(to + 2 * part_stride, third_pairs(first, second));
  }

 private:
  METALHEAD_INLINE I32 third_pairs(I32 first, I32 second) const {
    // Levels of 8 bits are whole numbers, which one part holds.
    if constexpr (kBits == 8) return splat(int32_t{0});
    return as_int(third_.of_low_bits(second)) | shift_right<16>(as_int(third_.of_low_bits(first)));
  }

  LevelTable<kBits> leading_{kPaddedParts<kBits>.leading}, third_{kPaddedParts<kBits>.third};
};

template <int kBits, int kParts>
void load_key_parts(const TileRequest& request, int64_t pair_rows, int32_t* panels) {
  const AttentionParams& params = *request.view->params;
  const int dim = params.head_dim;
  const uint8_t* base = first_row<uint8_t>(request.view->key, params.key_strides, request);
  const PartTable<kBits, kParts> table;
  const int64_t part_stride = pair_rows * kPanelWidth;
  TransposedCodes<kBits> codes;
  for (int first = 0; first < static_cast<int>(round_up(request.count, kPanelWidth)); first += kLanes) {
    const uint8_t* keys[kLanes];
    rows_of_keys(request, base, params.key_strides[2], first, keys);
    codes.take(keys, dim);
    int32_t* to = panels + first / kPanelWidth * kParts * part_stride + first % kPanelWidth;
    static_assert(kStepRows == kWordCodes);
    for (int step = 0; step < dim / kStepRows; ++step) {
      for_each_part<0, 1, kStepRows / 2>([&]<int kRow>() __attribute__((always_inline)) {
        table.store_pairs(codes.template codes<kRow>(step), codes.template codes<kRow + kStepRows / 2>(step),
                          to, part_stride);
        to += kPanelWidth;
      });
    }
  }
}

template <int kBits, int kParts>
void load_value_parts(const TileRequest& request, int64_t pair_rows, int32_t* panels) {
  const AttentionParams& params = *request.view->params;
  const int dim = params.value_dim;
  const uint8_t* base = first_row<uint8_t>(request.view->value, params.value_strides, request);
  const auto row_of = [&](int key) __attribute__((always_inline)) {
    const int64_t at = request.first_key + smaller(key, request.count - 1);
    return base + physical_row(*request.sequence, at) * params.value_strides[2];
  };
  const PartTable<kBits, kParts> table;
  const int64_t part_stride = pair_rows * kPanelWidth;
  for (int step = 0; step < request.count; step += kStepRows) {
    for (int key = step; key < step + kStepRows / 2; ++key, panels += kPanelWidth) {
      const uint8_t *first = row_of(key), *second = row_of(key + kStepRows / 2);
      int32_t* to = panels;
      for (int d = 0; d < dim; d += kPanelWidth, to += kParts * part_stride) {
        for (int half = 0; half < kPanelWidth; half += kLanes) {
          table.store_pairs(codes_of<kBits>(first, dim, d + half), codes_of<kBits>(second, dim, d + half),
                            to + half, part_stride);
        }
      }
    }
  }
}

template <int kParts>
PartLoader key_part_loader(int bits) {
  return with_bits(bits, []<int kBits>() -> PartLoader { return load_key_parts<kBits, kParts>; });
}

template <int kParts>
PartLoader value_part_loader(int bits) {
  return with_bits(bits, []<int kBits>() -> PartLoader { return load_value_parts<kBits, kParts>; });
}

}  // namespace

PartLoader packed_key_part_loader(int bits, int parts) {
  if (parts == 1) return load_key_parts<8, 1>;
  return parts == 2 ? key_part_loader<2>(bits) : key_part_loader<3>(bits);
}

PartLoader packed_value_part_loader(int bits, int parts) {
  if (parts == 1) return load_value_parts<8, 1>;
  return parts == 2 ? value_part_loader<2>(bits) : value_part_loader<3>(bits);
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
