// Fills the params and issues the launches of one attention call that has passed its checks.
#include "ops/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>

#include "metal/params/attention_params.h"
#include "metal/params/function_constants.h"
#include "ops/attention_plan.h"

namespace metalhead {

namespace {

constexpr const char* kSdpa = "sdpa";
constexpr const char* kPackedSdpa = "tq_sdpa";
constexpr const char* kFlashAttnVec = "flash_attn_vec";
constexpr const char* kPackedFlashAttnVec = "tq_flash_attn_vec";
constexpr const char* kReduce = "flash_attn_vec_reduce";

int window_side(int64_t side) {
  return static_cast<int>(side < 0 ? METALHEAD_MAX_LENGTH : std::min<int64_t>(side, METALHEAD_MAX_LENGTH));
}

/// Strides of batch, head and row; a rank-3 tensor has one batch entry.
void copy_strides(const Tensor& tensor, metalhead_long (&strides)[3]) {
  const size_t first = tensor.rank == 4 ? 1 : 0;
  strides[0] = first ? tensor.strides[0] : 0;
  strides[1] = tensor.strides[first];
  strides[2] = tensor.strides[first + 1];
}

/// Norms have no last axis: [B, H, L], or [H, L] for batch 1.
void copy_norm_strides(const Tensor& norms, metalhead_long (&strides)[3]) {
  if (!norms.defined()) return;
  const size_t first = norms.rank == 3 ? 1 : 0;
  strides[0] = first ? norms.strides[0] : 0;
  strides[1] = norms.strides[first];
  strides[2] = norms.strides[first + 1];
}

void copy_mask_strides(const Tensor& mask, metalhead_long (&strides)[4]) {
  if (!mask.defined()) return;
  for (int axis = 0; axis < mask.rank; ++axis) {
    const size_t from = static_cast<size_t>(axis);
    if (mask.shape[from] > 1) strides[4 - mask.rank + axis] = mask.strides[from];
  }
}

/// Keys that the rows of a sequence of this length see together.
int64_t visible_span(const AttentionArguments& a, int64_t query_length, int64_t kv_length) {
  return std::min<int64_t>(kv_length, query_length + window_side(a.window.left));
}

AttentionSizes sizes_of(const AttentionArguments& a) {
  AttentionSizes s;
  const size_t b = a.query.rank == 4 ? 1 : 0;
  s.batch = b ? a.query.shape[0] : 1;
  s.query_heads = a.query.shape[b];
  s.kv_heads = a.key.shape[b];
  s.query_length = a.query.shape[b + 1];
  s.head_dim = a.query.shape[b + 2];
  s.value_dim = a.value_format.packed() ? a.value_format.dim : a.value.shape[b + 2];
  s.packed = a.key_format.packed() || a.value_format.packed();
  if (!a.kv_lengths.defined()) {
    s.longest_span = visible_span(a, s.query_length, a.key.shape[b + 1]);
    s.total_span = s.longest_span * s.batch;
    return s;
  }
  for (int64_t i = 0; i < s.batch; ++i) {
    const int64_t span = visible_span(a, s.query_length, a.kv_lengths.data_as<int32_t>()[i]);
    s.longest_span = std::max(s.longest_span, span);
    s.total_span += span;
  }
  return s;
}

uint64_t cost_of(const AttentionSizes& s) {
  return static_cast<uint64_t>(s.total_span) * static_cast<uint64_t>(s.query_heads) *
         static_cast<uint64_t>(s.query_length) * static_cast<uint64_t>(s.head_dim + s.value_dim);
}

/// `p` comes zeroed.
void fill_params(AttentionParams& p, const AttentionArguments& a, const AttentionSizes& s,
                 const AttentionPlan& plan) {
  p.batch = static_cast<int>(s.batch);
  p.query_heads = static_cast<int>(s.query_heads);
  p.kv_heads = static_cast<int>(s.kv_heads);
  p.query_length = static_cast<int>(s.query_length);
  p.kv_capacity = static_cast<int>(a.key.shape[a.query.rank == 4 ? 2 : 1]);
  p.kv_length = p.kv_capacity;
  p.ring_start = static_cast<int>(a.ring_start);
  p.head_dim = static_cast<int>(s.head_dim);
  p.value_dim = static_cast<int>(s.value_dim);
  p.window_left = window_side(a.window.left);
  p.window_right = a.causal ? 0 : window_side(a.window.right);
  p.scale = static_cast<float>(a.scale.value_or(1.0 / std::sqrt(static_cast<double>(p.head_dim))));
  p.softcap = static_cast<float>(a.softcap);
  p.splits = plan.splits;
  p.keys_per_split = plan.keys_per_split;
  p.rows_per_group = plan.rows_per_group;
  copy_strides(a.query, p.query_strides);
  copy_strides(a.key, p.key_strides);
  copy_strides(a.value, p.value_strides);
  copy_strides(a.out, p.out_strides);
  copy_mask_strides(a.mask, p.mask_strides);
  if (!s.packed) return;
  copy_norm_strides(a.key_norms, p.key_norm_strides);
  copy_norm_strides(a.value_norms, p.value_norm_strides);
  std::copy(a.key_format.signs.begin(), a.key_format.signs.end(), p.key_signs);
  std::copy(a.value_format.signs.begin(), a.value_format.signs.end(), p.value_signs);
}

uint32_t mask_kind(const Tensor& mask) {
  if (!mask.defined()) return kMaskNone;
  switch (mask.dtype) {
    case DType::kBool:
      return kMaskBool;
    case DType::kFloat16:
      return kMaskFloat16;
    case DType::kBFloat16:
      return kMaskBFloat16;
    default:
      return kMaskFloat32;
  }
}

void set_constants(Launch& launch, const AttentionArguments& a, const AttentionSizes& sizes) {
  FunctionConstants& c = launch.constants;
  c.set_uint(kConstantHeadDim, static_cast<uint32_t>(sizes.head_dim));
  c.set_uint(kConstantValueDim, static_cast<uint32_t>(sizes.value_dim));
  c.set_uint(kConstantMaskKind, mask_kind(a.mask));
  c.set_bool(kConstantHasSoftcap, a.softcap > 0);
  c.set_bool(kConstantHasAlibi, a.alibi_slopes.defined());
  c.set_bool(kConstantHasSinks, a.sinks.defined());
  c.set_bool(kConstantHasKvLengths, a.kv_lengths.defined());
  c.set_bool(kConstantHasRing, a.ring_starts.defined() || a.ring_start != 0);
  c.set_bool(kConstantHasRingStarts, a.ring_starts.defined());
  c.set_bool(kConstantHasLse, a.lse.defined());
}

/// True if a GPU may read the rows of K or V in the largest pieces that a lane takes: all of them start at a
/// multiple of 16 bytes (packed rows: of the largest piece) and dense ones are as long as one.
bool has_wide_rows(const Tensor& tensor, const PackedFormat& format) {
  const uint64_t size = size_of(tensor.dtype), last = static_cast<uint64_t>(tensor.rank - 1);
  uint64_t step = 16, bits = reinterpret_cast<uintptr_t>(tensor.data());
  if (format.packed()) {
    const int first_plane = format.bits == 3 ? 2 : format.bits == 5 || format.bits == 6 ? 4 : format.bits;
    step = std::min<uint64_t>(step, static_cast<uint64_t>(format.dim * first_plane / 32));
  } else {
    bits |= static_cast<uint64_t>(tensor.shape[last]) * size;
  }
  for (uint64_t axis = 0; axis < last; ++axis) bits |= static_cast<uint64_t>(tensor.strides[axis]) * size;
  return bits % step == 0;
}

void set_gpu_constants(Launch& launch, const AttentionArguments& a, const AttentionPlan& plan) {
  FunctionConstants& c = launch.constants;
  c.set_uint(kConstantRowBlocks, static_cast<uint32_t>(plan.row_blocks));
  c.set_uint(kConstantKeyGroups, static_cast<uint32_t>(plan.key_groups));
  c.set_uint(kConstantWideRows, (has_wide_rows(a.key, a.key_format) ? 1u : 0u) |
                                    (has_wide_rows(a.value, a.value_format) ? 2u : 0u));
}

void set_packed_constants(Launch& launch, const AttentionArguments& a) {
  FunctionConstants& c = launch.constants;
  const bool key_half = a.key_norms.defined() && a.key_norms.dtype == DType::kFloat16;
  const bool value_half = a.value_norms.defined() && a.value_norms.dtype == DType::kFloat16;
  c.set_uint(kConstantKeyBits, static_cast<uint32_t>(a.key_format.bits));
  c.set_uint(kConstantValueBits, static_cast<uint32_t>(a.value_format.bits));
  c.set_uint(kConstantNormIsHalf, (key_half ? 1u : 0u) | (value_half ? 2u : 0u));
  c.set_bool(kConstantRotateQuery, a.key_format.packed() && !a.rotated);
  c.set_bool(kConstantRotateOut, a.value_format.packed() && !a.rotated);
}

void bind_if(Launch& launch, int slot, const Tensor& tensor, Access access = Access::kRead) {
  if (tensor.defined()) launch.bind(slot, tensor, access);
}

/// Small host arrays that a kernel reads: bound in place, or copied to a buffer of the device.
class HostInput {
 public:
  HostInput(Device& device, const Tensor& tensor) : tensor_(tensor) {
    if (!tensor.defined() || device.reads_host_memory()) return;
    const uint64_t bytes = tensor.span_bytes();
    copy_ = ScratchBuffer(device, bytes);
    std::memcpy(copy_.get().contents, tensor.data(), bytes);
    tensor_.buffer = copy_.get();
    tensor_.byte_offset = 0;
  }
  const Tensor& tensor() const { return tensor_; }

 private:
  Tensor tensor_;
  ScratchBuffer copy_;
};

void fill_launch(Launch& launch, const AttentionArguments& a, const AttentionSizes& sizes,
                 const AttentionPlan& plan) {
  launch.add_dtype(a.query.dtype);
  launch.add_dtype(a.key.dtype);
  launch.add_dtype(a.value.dtype);
  launch.add_dtype(a.out.dtype);
  set_constants(launch, a, sizes);
  if (sizes.packed) set_packed_constants(launch, a);
  if (plan.row_blocks > 0) set_gpu_constants(launch, a, plan);
  launch.bind(kSlotQuery, a.query, Access::kRead);
  launch.bind(kSlotKey, a.key, Access::kRead);
  launch.bind(kSlotValue, a.value, Access::kRead);
  bind_if(launch, kSlotMask, a.mask);
  bind_if(launch, kSlotAlibiSlopes, a.alibi_slopes);
  bind_if(launch, kSlotKeyNorms, a.key_norms);
  bind_if(launch, kSlotValueNorms, a.value_norms);
  launch.threads = plan.threads;
  launch.threadgroup_bytes = plan.threadgroup_bytes;
  launch.cost = cost_of(sizes);
  launch.grid.y = static_cast<uint32_t>(sizes.kv_heads);
  launch.grid.z = static_cast<uint32_t>(sizes.batch);
}

void bind_result(Launch& launch, const AttentionArguments& a) {
  launch.bind(kSlotOut, a.out, Access::kWrite);
  bind_if(launch, kSlotLse, a.lse, Access::kWrite);
  bind_if(launch, kSlotSinks, a.sinks);
}

/// Runs one split launch whose partial results `flash_attn_vec_reduce` joins.
void run_split(Device& device, const AttentionArguments& a, const AttentionParams& p, Launch& launch) {
  const int64_t rows = int64_t{p.batch} * p.query_heads * p.query_length;
  const int64_t partials = rows * p.splits * p.value_dim;
  const int64_t stats = rows * p.splits * 2;
  const ScratchBuffer scratch(device, static_cast<uint64_t>(partials + stats) * sizeof(float));
  const Tensor partial_out = float_vector(scratch.get(), 0, partials);
  const Tensor partial_stats =
      float_vector(scratch.get(), static_cast<uint64_t>(partials) * sizeof(float), stats);
  launch.bind(kSlotPartialOut, partial_out, Access::kWrite);
  launch.bind(kSlotPartialStats, partial_stats, Access::kWrite);
  device.launch(launch);

  ReduceParams r{};
  r.batch = p.batch;
  r.query_heads = p.query_heads;
  r.query_length = p.query_length;
  r.value_dim = p.value_dim;
  r.splits = p.splits;
  std::copy(std::begin(p.out_strides), std::end(p.out_strides), r.out_strides);
  std::copy(std::begin(p.value_signs), std::end(p.value_signs), r.value_signs);
  Launch reduce;
  reduce.kernel = kReduce;
  reduce.add_dtype(a.out.dtype);
  reduce.constants.set_uint(kConstantValueDim, static_cast<uint32_t>(p.value_dim));
  reduce.constants.set_bool(kConstantHasSinks, a.sinks.defined());
  reduce.constants.set_bool(kConstantHasLse, a.lse.defined());
  reduce.constants.set_bool(kConstantRotateOut, a.value_format.packed() && !a.rotated);
  reduce.set_params(r);
  reduce.bind(kSlotPartialOut, partial_out, Access::kRead);
  reduce.bind(kSlotPartialStats, partial_stats, Access::kRead);
  bind_result(reduce, a);
  reduce.grid = {static_cast<uint32_t>(p.query_length), static_cast<uint32_t>(p.query_heads),
                 static_cast<uint32_t>(p.batch)};
  reduce.threads = reduce_threads(device.limits());
  reduce.cost = static_cast<uint64_t>(partials);
  device.launch(reduce);
}

}  // namespace

uint64_t attention_cost(const AttentionArguments& a) { return cost_of(sizes_of(a)); }

void run_attention(Device& device, const AttentionArguments& a) {
  const AttentionSizes sizes = sizes_of(a);
  if (sizes.query_length == 0) return;
  const AttentionPlan plan = plan_attention(device.limits(), sizes, a.splits);
  const HostInput kv_lengths(device, a.kv_lengths);
  const HostInput ring_starts(device, a.ring_starts);
  Launch launch;
  AttentionParams& p = launch.zeroed_params<AttentionParams>();
  fill_params(p, a, sizes, plan);
  fill_launch(launch, a, sizes, plan);
  bind_if(launch, kSlotKvLengths, kv_lengths.tensor());
  bind_if(launch, kSlotRingStarts, ring_starts.tensor());
  if (!plan.split_keys) {
    const int64_t group_rows = sizes.query_heads * sizes.query_length / sizes.kv_heads;
    launch.kernel = sizes.packed ? kPackedSdpa : kSdpa;
    launch.grid.x = static_cast<uint32_t>((group_rows + plan.rows_per_group - 1) / plan.rows_per_group);
    bind_result(launch, a);
    device.launch(launch);
    return;
  }
  launch.kernel = sizes.packed ? kPackedFlashAttnVec : kFlashAttnVec;
  launch.grid.x = static_cast<uint32_t>(p.splits);
  launch.constants.set_bool(kConstantSplitOutput, p.splits > 1);
  if (p.splits > 1) {
    launch.constants.set_bool(kConstantHasSinks, false);
    run_split(device, a, p, launch);
    return;
  }
  bind_result(launch, a);
  device.launch(launch);
}

}  // namespace metalhead
