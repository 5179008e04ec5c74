// Joins the partial results of splits into attention's output, and turns finished results into partial ones.
#include "devices/cpu/kernels/attention_row.h"
#include "devices/cpu/kernels/kernels.h"
#include "devices/cpu/kernels/scratch_layout.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {
namespace {

struct ReduceView {
  const ReduceParams* params;
  DType out_dtype;
  char* out;
  float *lse, *partial_out, *partial_stats;
  const float* sinks;
};

METALHEAD_INLINE ReduceView reduce_view_of(const Launch& launch) {
  ReduceView view{};
  view.params = &params_of<ReduceParams>(launch);
  view.out_dtype = dtype_of(launch, launch.dtype_count - 1);
  view.out = slot_data<char>(launch, kSlotOut);
  view.lse = slot_data<float>(launch, kSlotLse);
  view.partial_out = slot_data<float>(launch, kSlotPartialOut);
  view.partial_stats = slot_data<float>(launch, kSlotPartialStats);
  view.sinks =
      constant_of(launch, kConstantHasSinks) != 0 ? slot_data<const float>(launch, kSlotSinks) : nullptr;
  return view;
}

/// One row of [batch, query_heads, query_length]; the grid counts them from the right.
struct RowPlace {
  int64_t head;
  int64_t index;       ///< in contiguous arrays
  int64_t out_offset;  ///< elements
};

METALHEAD_INLINE RowPlace place_of(const ReduceParams& params, const GridPosition& at) {
  return {at.y, (at.z * params.query_heads + at.y) * params.query_length + at.x,
          at.z * params.out_strides[0] + at.y * params.out_strides[1] + at.x * params.out_strides[2]};
}

/// Joins the splits of one row into `sums`, padded to 16 floats.
RowStats join_row(const ReduceView& view, int64_t index, float* sums) {
  const ReduceParams& params = *view.params;
  const float* partial_stats = view.partial_stats + 2 * index * params.splits;
  RowStats joined;
  for (int64_t s = 0; s < params.splits; ++s) {
    const float maximum = partial_stats[2 * s];
    if (partial_stats[2 * s + 1] != 0.0f && !(maximum <= joined.maximum)) joined.maximum = maximum;
  }
  __builtin_memset(sums, 0, static_cast<size_t>(round_up(params.value_dim, 16)) * sizeof(float));
  for (int64_t s = 0; s < params.splits; ++s) {
    if (partial_stats[2 * s + 1] == 0.0f) continue;
    const float weight = first_lane(exp(splat(partial_stats[2 * s] - joined.maximum)));
    joined.sum += weight * partial_stats[2 * s + 1];
    const float* part = view.partial_out + (index * params.splits + s) * params.value_dim;
    for (int64_t i = 0; i < params.value_dim; i += kLanes) {
      const int count = static_cast<int>(smaller(kLanes, params.value_dim - i));
      const F32 value = count == kLanes ? load(part + i) : load_partial(part + i, count);
      store(sums + i, fma(splat(weight), value, load(sums + i)));
    }
  }
  return joined;
}

template <class T>
METALHEAD_INLINE void copy_to_partial(const ReduceView& view, const RowPlace& place, int64_t slot) {
  const int64_t value_dim = view.params->value_dim;
  const T* from = reinterpret_cast<const T*>(view.out) + place.out_offset;
  load_row(view.partial_out + slot * value_dim, from, value_dim, value_dim, 1.0f);
}

}  // namespace

void flash_attn_vec_reduce(const Launch& launch, uint64_t begin, uint64_t end, Scratch& scratch) {
  const ReduceView view = reduce_view_of(launch);
  const int64_t value_dim = view.params->value_dim;
  const bool wants_lse = constant_of(launch, kConstantHasLse) != 0;
  const bool rotate_out = constant_of(launch, kConstantRotateOut) != 0;
  ScratchLayout layout;
  layout.add(round_up(value_dim, 16));
  float* sums = layout.reserve(scratch);
  for (uint64_t index = begin; index < end; ++index) {
    const RowPlace place = place_of(*view.params, grid_position(launch, index));
    const RowStats stats = join_row(view, place.index, sums);
    const RowEnd row_end = end_of_row(stats, view.sinks == nullptr ? nullptr : view.sinks + place.head);
    char* out = view.out + place.out_offset * element_bytes(view.out_dtype);
    if (rotate_out) hadamard_row(sums, static_cast<int>(value_dim), view.params->value_signs, true);
    store_row(out, view.out_dtype, sums, value_dim, row_end.factor);
    if (wants_lse) view.lse[place.index] = row_end.lse;
  }
}

void store_partial(const Launch& launch, uint64_t begin, uint64_t end, Scratch& /*scratch*/) {
  const ReduceView view = reduce_view_of(launch);
  for (uint64_t index = begin; index < end; ++index) {
    const RowPlace place = place_of(*view.params, grid_position(launch, index));
    const int64_t slot = place.index * view.params->splits + view.params->split;
    const float lse = view.lse[place.index];
    const bool empty = lse == kMinusInfinity;
    view.partial_stats[2 * slot] = lse;
    view.partial_stats[2 * slot + 1] = empty ? 0.0f : 1.0f;
    if (empty) continue;
    if (view.out_dtype == DType::kFloat32) copy_to_partial<float>(view, place, slot);
    if (view.out_dtype == DType::kFloat16) copy_to_partial<Float16>(view, place, slot);
    if (view.out_dtype == DType::kBFloat16) copy_to_partial<BFloat16>(view, place, slot);
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
