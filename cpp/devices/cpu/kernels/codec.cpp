// The TurboQuant codec's kernels: vectors to packed codes with a norm, and back.
//
// Compiled without contraction of a * b + c: the codes must be the same bits on every machine.
#include <atomic>
#include <cstdint>

#include "devices/cpu/kernel_table.h"
#include "devices/cpu/kernels/kernels.h"
#include "devices/cpu/kernels/simd.h"
#include "devices/cpu/kernels/tq_levels.h"
#include "devices/cpu/kernels/tq_planes.h"
#include "devices/cpu/kernels/tq_quantise.h"
#include "devices/cpu/kernels/tq_rotation.h"
#include "devices/cpu/kernels/tq_vectors.h"
#include "metal/common/codec_rule.h"
#include "metal/params/codec_params.h"
#include "metal/params/function_constants.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

namespace {

/// Where the encoder works on one vector.
struct EncodeWorkspace {
  alignas(64) float factors[kMaxRotatedDim];  ///< signs, +1 and -1
  alignas(64) float values[kMaxRotatedDim];
  alignas(64) uint8_t codes[2][kMaxRotatedDim];
};

/// A vector after steps 1 to 3 of the rule: y times 2^-exponent is in the workspace.
struct ScaledVector {
  bool finite = true;
  bool zero = false;
  int exponent = 0;
};

/// A chosen set of codes: which of the two code buffers, and its fit.
struct Choice {
  Fit fit;
  float largest = 0.0f;  ///< of |y|; 8 bits only
  int buffer = 0;
};

template <class Input>
METALHEAD_INLINE float read_vector(const Input* input, int dim, float* values, bool& finite) {
  F32 largest = zero(), poison = zero();
  for (int j = 0; j < dim; j += kLanes) {
    const F32 x = load(input + j);
    largest = max(largest, abs(x));
    poison = poison + (x - x);
    store(values + j, x);
  }
  finite = reduce_add(poison) == 0.0f;
  return reduce_max(largest);
}

/// Signs, the exact scaling by a power of two, and the transform, in place.
METALHEAD_INLINE void rotate_scaled(float* values, const float* factors, int dim, float scale) {
  const F32 factor = splat(scale), negligible = splat(METALHEAD_NEGLIGIBLE);
  for (int j = 0; j < dim; j += kLanes) {
    const F32 x = load(values + j) * load(factors + j) * factor;
    store(values + j, select_less(abs(x), negligible, zero(), x));
  }
  walsh_hadamard(values, dim);
}

template <class Input>
METALHEAD_INLINE ScaledVector rotate_input(const Input* input, int dim, EncodeWorkspace& w) {
  ScaledVector v;
  float largest = read_vector(input, dim, w.values, v.finite);
  if (!v.finite) return v;
  int lift = 0;
  if (exponent_field(largest) < METALHEAD_TINY_EXPONENT) {
    largest = lift_tiny(largest);
    v.zero = largest == 0.0f;
    if (v.zero) return v;
    for (int j = 0; j < dim; ++j) w.values[j] = lift_tiny(w.values[j]);
    lift = METALHEAD_TINY_SHIFT;
  }
  const int exponent = METALHEAD_TARGET_EXPONENT - exponent_field(largest);
  rotate_scaled(w.values, w.factors, dim, power_of_two(exponent));
  v.exponent = -exponent - lift;
  return v;
}

METALHEAD_INLINE float largest_magnitude(const float* values, int dim) {
  F32 largest = zero();
  for (int j = 0; j < dim; j += kLanes) largest = max(largest, abs(load(values + j)));
  return reduce_max(largest);
}

METALHEAD_INLINE const float* search_factors(int steps) {
  return steps == 5 ? kSearchFactors5 : steps == 17 ? kSearchFactors17 : kSearchFactors5 + 2;
}

/// Tries every factor; the first of the best wins. `rms` is the root mean square of the rotated vector.
template <int kBits>
METALHEAD_INLINE Choice choose_codes(EncodeWorkspace& w, int dim, float rms, int search_steps) {
  Choice best;
  if constexpr (kBits == 8) best.largest = largest_magnitude(w.values, dim);
  const float* factors = search_factors(search_steps);
  for (int step = 0; step < search_steps; ++step) {
    const int buffer = step == 0 ? 0 : 1 - best.buffer;
    Fit fit;
    if constexpr (kBits == 8) {
      fit = quantise_linear(w.values, dim, 127.0f / (best.largest * factors[step]), w.codes[buffer]);
    } else {
      fit = quantise_to_levels<kBits>(w.values, dim, rms * factors[step], w.codes[buffer]);
    }
    if (step > 0 && !better_fit(fit, best.fit)) continue;
    best.fit = fit;
    best.buffer = buffer;
  }
  return best;
}

/// The number that is stored, still to be multiplied by 2^exponent.
template <int kBits>
METALHEAD_INLINE float stored_norm(const Choice& choice, float sum, float rms, uint32_t kind) {
  if (kind == kNormCorrected) return __builtin_sqrtf(sum / choice.fit.square);
  if (kind == kNormUnbiased) return sum / choice.fit.along;
  return kBits == 8 ? choice.largest / 127.0f : rms;
}

/// Writes one vector's codes and norm; returns the bits of CodecStatus that apply.
template <int kBits, class Input, class Norm>
METALHEAD_INLINE int encode_vector(const Input* input, const CodecParams& p, uint32_t norm_kind, int search_steps,
                                   EncodeWorkspace& w, uint8_t* packed, Norm* norm) {
  const int dim = p.head_dim;
  const ScaledVector v = rotate_input(input, dim, w);
  if (!v.finite) return kStatusNotFinite;
  if (v.zero) {
    __builtin_memset(w.codes[0], kBits == 8 ? 128 : (1 << (kBits - 1)) - 1, static_cast<size_t>(dim));
    pack_codes<kBits>(w.codes[0], dim, packed);
    store_norm(norm, 0.0f);
    return 0;
  }
  const float sum = sum_of_squares(w.values, dim);
  const float rms = __builtin_sqrtf(sum / static_cast<float>(dim));
  const Choice choice = choose_codes<kBits>(w, dim, rms, search_steps);
  const float stored = scale_by_power(stored_norm<kBits>(choice, sum, rms, norm_kind), v.exponent);
  if (!(stored < __builtin_inff())) return kStatusNotFinite;
  if (!norm_fits<Norm>(stored)) return kStatusNormOverflow;
  pack_codes<kBits>(w.codes[choice.buffer], dim, packed);
  store_norm(norm, stored);
  return 0;
}

template <int kBits, class Input, class Norm>
void encode_groups(const Launch& launch, uint64_t begin, uint64_t end) {
  const CodecParams& p = launch.params<CodecParams>();
  const uint32_t norm_kind = launch.constants[kConstantNormKind];
  const int search_steps = static_cast<int>(launch.constants[kConstantSearchSteps]);
  EncodeWorkspace w;
  expand_signs(p.signs, p.head_dim, w.factors);
  int status = 0;
  for_each_vector(launch, p, begin, end, [&](int64_t o, int64_t m, int64_t r) METALHEAD_LAMBDA_INLINE {
    const Input* input = launch.data<const Input>(kSlotInput) + offset_of(p.input_strides, o, m, r);
    uint8_t* packed = launch.data<uint8_t>(kSlotCodes) + offset_of(p.code_strides, o, m, r);
    Norm* norm = launch.data<Norm>(kSlotNorms) + offset_of(p.norm_strides, o, m, r);
    status |= encode_vector<kBits>(input, p, norm_kind, search_steps, w, packed, norm);
  });
  if (status != 0) std::atomic_ref<int32_t>(*launch.data<int32_t>(kSlotStatus)).fetch_or(status);
}

template <int kBits, class Output, class Norm>
void decode_groups(const Launch& launch, uint64_t begin, uint64_t end) {
  const CodecParams& p = launch.params<CodecParams>();
  const bool inverse = launch.constants[kConstantInverse] != 0;
  const int dim = p.head_dim;
  const LevelTable<kBits> table;
  const float root = rotation_factor(dim);
  alignas(64) float factors[kMaxRotatedDim];
  alignas(64) float values[kMaxRotatedDim];
  expand_signs(p.signs, dim, factors);
  for_each_vector(launch, p, begin, end, [&](int64_t o, int64_t m, int64_t r) METALHEAD_LAMBDA_INLINE {
    const uint8_t* packed = launch.data<const uint8_t>(kSlotCodes) + offset_of(p.code_strides, o, m, r);
    const float norm = to_float(launch.data<const Norm>(kSlotNorms)[offset_of(p.norm_strides, o, m, r)]);
    Output* out = launch.data<Output>(kSlotOutput) + offset_of(p.output_strides, o, m, r);
    table.expand(packed, dim, values);
    if (inverse) walsh_hadamard(values, dim);
    const F32 scale = splat(inverse ? norm / static_cast<float>(dim) : norm * root);
    for (int j = 0; j < dim; j += kLanes) {
      const F32 x = load(values + j) * scale;
      store(out + j, inverse ? x * load(factors + j) : x);
    }
  });
}

template <class Vector, class Norm>
void encode_bits(const Launch& launch, uint64_t begin, uint64_t end) {
  switch (launch.constants[kConstantBits]) {
    case 2: return encode_groups<2, Vector, Norm>(launch, begin, end);
    case 3: return encode_groups<3, Vector, Norm>(launch, begin, end);
    case 4: return encode_groups<4, Vector, Norm>(launch, begin, end);
    case 5: return encode_groups<5, Vector, Norm>(launch, begin, end);
    case 6: return encode_groups<6, Vector, Norm>(launch, begin, end);
    default: return encode_groups<8, Vector, Norm>(launch, begin, end);
  }
}

template <class Vector, class Norm>
void decode_bits(const Launch& launch, uint64_t begin, uint64_t end) {
  switch (launch.constants[kConstantBits]) {
    case 2: return decode_groups<2, Vector, Norm>(launch, begin, end);
    case 3: return decode_groups<3, Vector, Norm>(launch, begin, end);
    case 4: return decode_groups<4, Vector, Norm>(launch, begin, end);
    case 5: return decode_groups<5, Vector, Norm>(launch, begin, end);
    case 6: return decode_groups<6, Vector, Norm>(launch, begin, end);
    default: return decode_groups<8, Vector, Norm>(launch, begin, end);
  }
}

}  // namespace

void tq_encode(const Launch& launch, uint64_t begin, uint64_t end, Scratch&) {
  const bool half_norms = launch.dtypes[1] == DType::kFloat16;
  switch (launch.dtypes[0]) {
    case DType::kFloat16:
      return half_norms ? encode_bits<Float16, Float16>(launch, begin, end) : encode_bits<Float16, float>(launch, begin, end);
    case DType::kBFloat16:
      return half_norms ? encode_bits<BFloat16, Float16>(launch, begin, end)
                        : encode_bits<BFloat16, float>(launch, begin, end);
    default:
      return half_norms ? encode_bits<float, Float16>(launch, begin, end) : encode_bits<float, float>(launch, begin, end);
  }
}

void tq_decode(const Launch& launch, uint64_t begin, uint64_t end, Scratch&) {
  const bool half_norms = launch.dtypes[1] == DType::kFloat16;
  switch (launch.dtypes[0]) {
    case DType::kFloat16:
      return half_norms ? decode_bits<Float16, Float16>(launch, begin, end) : decode_bits<Float16, float>(launch, begin, end);
    case DType::kBFloat16:
      return half_norms ? decode_bits<BFloat16, Float16>(launch, begin, end)
                        : decode_bits<BFloat16, float>(launch, begin, end);
    default:
      return half_norms ? decode_bits<float, Float16>(launch, begin, end) : decode_bits<float, float>(launch, begin, end);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
