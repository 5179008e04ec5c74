#include "ops/merge_attention.h"

#include "core/error.h"
#include "metal/params/attention_params.h"
#include "metal/params/function_constants.h"
#include "ops/attention_plan.h"
#include "ops/checks.h"

namespace metalhead {

namespace {

constexpr const char* kOp = "merge_attention";
constexpr const char* kStorePartial = "store_partial";
constexpr const char* kReduce = "flash_attn_vec_reduce";
constexpr size_t kMaxParts = 1024;

std::span<const int64_t> shape_of(const Tensor& tensor) {
  return std::span(tensor.shape).first(static_cast<size_t>(tensor.rank));
}

bool same_shape(std::span<const int64_t> a, std::span<const int64_t> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

void set_out_strides(ReduceParams& params, const Tensor& out) {
  const size_t heads = out.rank == 4 ? 1 : 0;
  params.out_strides[0] = heads ? out.strides[0] : 0;
  params.out_strides[1] = out.strides[heads];
  params.out_strides[2] = out.strides[heads + 1];
}

ReduceParams make_params(const Tensor& out, size_t parts) {
  const size_t heads = out.rank == 4 ? 1 : 0;
  ReduceParams p{};
  p.batch = heads ? static_cast<int>(out.shape[0]) : 1;
  p.query_heads = static_cast<int>(out.shape[heads]);
  p.query_length = static_cast<int>(out.shape[heads + 1]);
  p.value_dim = static_cast<int>(out.shape[heads + 2]);
  p.splits = static_cast<int>(parts);
  return p;
}

/// A launch over all output rows of the joined result.
Launch row_launch(const char* kernel, const ReduceParams& p, DType out, const DeviceLimits& limits) {
  Launch launch;
  launch.kernel = kernel;
  launch.add_dtype(out);
  launch.constants.set_uint(kConstantValueDim, static_cast<uint32_t>(p.value_dim));
  launch.grid = {static_cast<uint32_t>(p.query_length), static_cast<uint32_t>(p.query_heads),
                 static_cast<uint32_t>(p.batch)};
  launch.threads = reduce_threads(limits);
  launch.cost = launch.grid.count() * static_cast<uint64_t>(p.value_dim);
  return launch;
}

}  // namespace

void check_merge_attention(std::span<const AttentionPart> parts) {
  if (parts.empty() || parts.size() > kMaxParts) {
    throw ValueError(concat(kOp, ": outs must hold from 1 to ", kMaxParts, " parts, got ", parts.size()));
  }
  const Tensor& first = parts[0].out;
  if (first.rank != 3 && first.rank != 4) {
    throw ValueError(concat(kOp, ": each part of outs must have rank 3 or 4, got shape ", shape_text(first)));
  }
  for (const AttentionPart& part : parts) {
    if (!same_shape(shape_of(part.out), shape_of(first))) {
      throw ValueError(concat(kOp, ": all parts of outs must share one shape, got ", shape_text(first),
                              " and ", shape_text(part.out)));
    }
    if (!is_floating(part.out.dtype)) {
      throw TypeError(
          concat(kOp, ": outs must be float32, float16 or bfloat16, got ", name_of(part.out.dtype)));
    }
    if (part.lse.dtype != DType::kFloat32) {
      throw TypeError(concat(kOp, ": lses must be float32, got ", name_of(part.lse.dtype)));
    }
    if (!same_shape(shape_of(part.lse), shape_of(first).first(static_cast<size_t>(first.rank - 1)))) {
      throw ValueError(concat(kOp,
                              ": each lse must have the shape of its out without the last axis, got out ",
                              shape_text(first), " and lse ", shape_text(part.lse)));
    }
  }
}

void check_merge_attention_out(std::span<const AttentionPart> parts, const Tensor& out) {
  check_out(kOp, out, shape_of(parts[0].out));
  for (const AttentionPart& part : parts) {
    if (overlaps(out, part.out) || overlaps(out, part.lse)) {
      throw ValueError(concat(kOp, ": out must not share memory with an input, but it overlaps a part"));
    }
  }
}

void run_merge_attention(Device& device, std::span<const AttentionPart> parts, const Tensor& out,
                         const Tensor& lse) {
  ReduceParams p = make_params(out, parts.size());
  const int64_t rows = int64_t{p.batch} * p.query_heads * p.query_length;
  if (rows == 0) return;
  const int64_t partials = rows * p.splits * p.value_dim;
  const int64_t stats = rows * p.splits * 2;
  const ScratchBuffer scratch(device, static_cast<uint64_t>(partials + stats) * sizeof(float));
  const Tensor partial_out = float_vector(scratch.get(), 0, partials);
  const Tensor partial_stats =
      float_vector(scratch.get(), static_cast<uint64_t>(partials) * sizeof(float), stats);

  for (size_t i = 0; i < parts.size(); ++i) {
    p.split = static_cast<int>(i);
    set_out_strides(p, parts[i].out);
    Launch store = row_launch(kStorePartial, p, parts[i].out.dtype, device.limits());
    store.set_params(p);
    store.bind(kSlotOut, parts[i].out, Access::kRead);
    store.bind(kSlotLse, parts[i].lse, Access::kRead);
    store.bind(kSlotPartialOut, partial_out, Access::kWrite);
    store.bind(kSlotPartialStats, partial_stats, Access::kWrite);
    device.launch(store);
  }

  set_out_strides(p, out);
  Launch reduce = row_launch(kReduce, p, out.dtype, device.limits());
  reduce.constants.set_bool(kConstantHasSinks, false);
  reduce.constants.set_bool(kConstantHasLse, lse.defined());
  reduce.constants.set_bool(kConstantRotateOut, false);
  reduce.set_params(p);
  reduce.bind(kSlotPartialOut, partial_out, Access::kRead);
  reduce.bind(kSlotPartialStats, partial_stats, Access::kRead);
  reduce.bind(kSlotOut, out, Access::kWrite);
  if (lse.defined()) reduce.bind(kSlotLse, lse, Access::kWrite);
  reduce.cost *= parts.size();
  device.launch(reduce);
}

}  // namespace metalhead
