// The TurboQuant codec's kernels: vectors to packed codes with a norm, and back.
//
// Compiled without contraction of a * b + c: the codes must be the same bits on every machine.
#include <cstdint>

#include "devices/cpu/kernel_table.h"
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

/// Norms from here on round to infinity in float16.
constexpr float kFloat16Overflow = 65520.0f;

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

/// Copies a row as float32; returns its largest magnitude, and whether all of it is finite.
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
  const auto take = [&](int j) METALHEAD_LAMBDA_INLINE {
    const F32 x = load(values + j) * load(factors + j) * factor;
    return select_less(abs(x), negligible, zero(), x);
  };
  const auto put = [&](int j, F32 x) METALHEAD_LAMBDA_INLINE { store(values + j, x); };
  walsh_hadamard(values, dim, take, put);
}

METALHEAD_INLINE float largest_magnitude(const float* values, int dim) {
  F32 largest = zero();
  for (int j = 0; j < dim; j += kLanes) largest = max(largest, abs(load(values + j)));
  return reduce_max(largest);
}

METALHEAD_INLINE ScaledVector rotate_input(DType dtype, const void* base, int64_t offset, int dim,
                                           EncodeWorkspace& w) {
  ScaledVector v;
  float largest = with_storage(dtype, base, offset, [&](const auto* input) METALHEAD_LAMBDA_INLINE {
    return read_vector(input, dim, w.values, v.finite);
  });
  if (!v.finite) return v;
  int lift = 0;
  if (exponent_field(largest) < METALHEAD_TINY_EXPONENT) {
    // Where the machine flushes denormal numbers, the maximum above may have missed some.
    for (int j = 0; j < dim; ++j) w.values[j] = lift_tiny(w.values[j]);
    largest = largest_magnitude(w.values, dim);
    v.zero = largest == 0.0f;
    if (v.zero) return v;
    lift = METALHEAD_TINY_SHIFT;
  }
  const int exponent = METALHEAD_TARGET_EXPONENT - exponent_field(largest);
  rotate_scaled(w.values, w.factors, dim, power_of_two(exponent));
  v.exponent = -exponent - lift;
  return v;
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

/// Packs one vector's codes and computes its norm; returns the bits of CodecStatus that apply.
template <int kBits>
METALHEAD_INLINE int encode_vector(const ScaledVector& v, const CodecParams& p, uint32_t norm_kind,
                                   int search_steps, bool half_norm, EncodeWorkspace& w, uint8_t* packed,
                                   float& norm) {
  const int dim = p.head_dim;
  norm = 0.0f;
  if (!v.finite) return kStatusNotFinite;
  if (v.zero) {
    __builtin_memset(w.codes[0], kBits == 8 ? 128 : (1 << (kBits - 1)) - 1, static_cast<size_t>(dim));
    pack_codes<kBits>(w.codes[0], dim, packed);
    return 0;
  }
  const float sum = sum_of_squares(w.values, dim);
  const float rms = __builtin_sqrtf(sum / static_cast<float>(dim));
  const Choice choice = choose_codes<kBits>(w, dim, rms, search_steps);
  pack_codes<kBits>(w.codes[choice.buffer], dim, packed);
  norm = scale_by_power(stored_norm<kBits>(choice, sum, rms, norm_kind), v.exponent);
  if (!(norm < __builtin_inff())) return kStatusNotFinite;
  return half_norm && norm >= kFloat16Overflow ? kStatusNormOverflow : 0;
}

template <int kBits>
void encode_groups(const Launch& launch, uint64_t begin, uint64_t end) {
  const CodecParams& p = params_of<CodecParams>(launch);
  const uint32_t norm_kind = constant_of(launch, kConstantNormKind);
  const int search_steps = static_cast<int>(constant_of(launch, kConstantSearchSteps));
  const bool half_norm = dtype_of(launch, 1) == DType::kFloat16;
  const void* input = slot_data<const void>(launch, kSlotInput);
  void* norms = slot_data<void>(launch, kSlotNorms);
  EncodeWorkspace w;
  expand_signs(p.signs, p.head_dim, w.factors);
  int status = 0;
  for_each_vector(launch, p, begin, end, [&](int64_t o, int64_t m, int64_t r) METALHEAD_LAMBDA_INLINE {
    const int64_t from = offset_of(p.input_strides, o, m, r);
    const ScaledVector v = rotate_input(dtype_of(launch, 0), input, from, p.head_dim, w);
    uint8_t* packed = slot_data<uint8_t>(launch, kSlotCodes) + offset_of(p.code_strides, o, m, r);
    float norm = 0.0f;
    status |= encode_vector<kBits>(v, p, norm_kind, search_steps, half_norm, w, packed, norm);
    with_storage(dtype_of(launch, 1), norms, offset_of(p.norm_strides, o, m, r),
                 [&](auto* to) METALHEAD_LAMBDA_INLINE { store_partial(to, splat(norm), 1); });
  });
  if (status != 0) __atomic_fetch_or(slot_data<int32_t>(launch, kSlotStatus), status, __ATOMIC_RELAXED);
}

template <int kBits>
void decode_groups(const Launch& launch, uint64_t begin, uint64_t end) {
  const CodecParams& p = params_of<CodecParams>(launch);
  const bool inverse = constant_of(launch, kConstantInverse) != 0;
  const int dim = p.head_dim;
  const LevelTable<kBits> table;
  const float root = rotation_factor(dim);
  alignas(64) float factors[kMaxRotatedDim];
  alignas(64) float values[kMaxRotatedDim];
  expand_signs(p.signs, dim, factors);
  for_each_vector(launch, p, begin, end, [&](int64_t o, int64_t m, int64_t r) METALHEAD_LAMBDA_INLINE {
    const float norm = with_storage(dtype_of(launch, 1), slot_data<const void>(launch, kSlotNorms),
                                    offset_of(p.norm_strides, o, m, r),
                                    [](const auto* from) METALHEAD_LAMBDA_INLINE { return to_float(*from); });
    table.expand(slot_data<const uint8_t>(launch, kSlotCodes) + offset_of(p.code_strides, o, m, r), dim,
                 values);
    if (inverse) walsh_hadamard(values, dim);
    const F32 scale = splat(inverse ? norm / static_cast<float>(dim) : norm * root);
    with_storage(dtype_of(launch, 0), slot_data<void>(launch, kSlotOutput),
                 offset_of(p.output_strides, o, m, r), [&](auto* out) METALHEAD_LAMBDA_INLINE {
                   for (int j = 0; j < dim; j += kLanes) {
                     const F32 x = load(values + j) * scale;
                     store(out + j, inverse ? x * load(factors + j) : x);
                   }
                 });
  });
}

}  // namespace

void tq_encode(const Launch& launch, uint64_t begin, uint64_t end, Scratch&) {
  with_bits(static_cast<int>(constant_of(launch, kConstantBits)),
            [&]<int kBits>() __attribute__((always_inline)) { encode_groups<kBits>(launch, begin, end); });
}

void tq_decode(const Launch& launch, uint64_t begin, uint64_t end, Scratch&) {
  with_bits(static_cast<int>(constant_of(launch, kConstantBits)),
            [&]<int kBits>() __attribute__((always_inline)) { decode_groups<kBits>(launch, begin, end); });
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
