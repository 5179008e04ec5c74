#include <array>
#include <optional>
#include <vector>

#include "bindings/attention_call.h"
#include "bindings/device.h"
#include "bindings/gil.h"
#include "bindings/native_function.h"
#include "bindings/operand.h"
#include "bindings/scalars.h"
#include "core/error.h"
#include "ops/merge_attention.h"

namespace metalhead::python {

namespace {

// Below this many multiply-adds (about 10 microseconds) letting go of the GIL costs more than it frees.
constexpr uint64_t kCostToReleaseGil = 100'000;

bool given(nb::handle object) { return object.is_valid() && !object.is_none(); }

WindowSize read_window(const char* op, nb::handle object) {
  WindowSize window;
  if (!given(object)) return window;
  if (!PyTuple_Check(object.ptr()) && !PyList_Check(object.ptr())) {
    window.left = int_argument(op, "window_size", object);
    window.right = 0;
    if (window.left < 0) {
      throw ValueError(
          concat(op, ": window_size must be at least 0, or None for unbounded, got ", window.left));
    }
    return window;
  }
  const nb::object pair = nb::borrow(object);
  if (nb::len(pair) != 2) {
    throw ValueError(
        concat(op, ": window_size must be an integer or (left, right), got ", nb::len(pair), " values"));
  }
  window.left = int_argument(op, "window_size", pair[0]);
  window.right = int_argument(op, "window_size", pair[1]);
  return window;
}

/// Every array of one call, kept alive until the call has finished; only those given are constructed.
struct Operands {
  struct Input {
    Input(const char* op, const char* name, nb::handle object, Tensor& kept)
        : operand(Operand::input(op, name, object)), tensor(kept) {}
    Operand operand;
    Tensor& tensor;  ///< where the op's arguments keep it
  };
  std::array<std::optional<Input>, 8> inputs;
  size_t count = 0;
  nb::object kv_lengths, ring_starts;

  void read(Tensor& tensor, const char* op, const char* name, nb::handle object) {
    tensor = inputs[count++].emplace(op, name, object, tensor).operand.tensor();
  }

  /// Returns true if the host must wait for the device before the call returns.
  bool prepare(Device& device) {
    bool wait = false;
    for (size_t i = 0; i < count; ++i) {
      Input& input = *inputs[i];
      input.operand.prepare(device);
      input.tensor = input.operand.tensor();
      wait = wait || input.operand.needs_wait();
    }
    return wait;
  }
};

void read_scalars(AttentionArguments& a, const AttentionKeywords& k) {
  if (given(k.scale)) a.scale = float_argument(a.op, "scale", k.scale);
  if (k.causal.is_valid()) a.causal = bool_argument(a.op, "causal", k.causal);
  if (k.softcap.is_valid()) a.softcap = float_argument(a.op, "softcap", k.softcap);
  a.window = read_window(a.op, k.window_size);
  if (given(k.splits)) {
    a.splits = int_argument(a.op, "splits", k.splits);
    if (a.splits < 1) throw ValueError(concat(a.op, ": splits must be at least 1, or None, got ", a.splits));
  }
}

void read_operands(AttentionArguments& a, Operands& o, nb::handle query, const CacheSide& key,
                   const CacheSide& value, const AttentionKeywords& k) {
  o.read(a.query, a.op, "q", query);
  o.read(a.key, a.op, "k", key.array);
  o.read(a.value, a.op, "v", value.array);
  a.key_format = key.format;
  a.value_format = value.format;
  if (given(key.norms)) o.read(a.key_norms, a.op, "k's norms", key.norms);
  if (given(value.norms)) o.read(a.value_norms, a.op, "v's norms", value.norms);
  if (given(k.mask)) o.read(a.mask, a.op, "mask", k.mask);
  if (given(k.alibi_slopes)) {
    o.read(a.alibi_slopes, a.op, "alibi_slopes", float32_vector(a.op, "alibi_slopes", k.alibi_slopes));
  }
  if (given(k.sinks)) {
    o.read(a.sinks, a.op, "sinks", float32_vector(a.op, "sinks", k.sinks));
  }
  if (given(k.kv_lengths)) a.kv_lengths = int32_vector(a.op, "kv_lengths", k.kv_lengths, o.kv_lengths);
  if (k.ring_start.is_valid()) {
    PyObject* const start = k.ring_start.ptr();
    if (PyLong_CheckExact(start) || (PyIndex_Check(start) && !nb::hasattr(k.ring_start, "__len__"))) {
      a.ring_start = int_argument(a.op, "ring_start", k.ring_start);
    } else {
      a.ring_starts = int32_vector(a.op, "ring_start", k.ring_start, o.ring_starts);
    }
  }
}

template <class Run>
void run_without_gil(uint64_t cost, Run&& run) {
  if (cost < kCostToReleaseGil) {
    run();
    return;
  }
  const GilRelease nogil;
  run();
}

std::span<const int64_t> lse_shape(const AttentionResultShape& result) {
  return std::span(result.shape).first(static_cast<size_t>(result.rank - 1));
}

}  // namespace

nb::object attend(const char* op, nb::handle query, const CacheSide& key, const CacheSide& value,
                  const AttentionKeywords& k, int64_t max_query_length, bool rotated) {
  const ArrayKind kind = kind_of(query);
  const nb::handle arrays[] = {query,  key.array,      value.array, key.norms, value.norms,
                               k.mask, k.alibi_slopes, k.sinks,     k.out};
  Device& device = device_of_call(op, k.device, arrays);
  AttentionArguments a;
  a.op = op;
  a.max_query_length = max_query_length;
  a.rotated = rotated;
  const bool return_lse = k.return_lse.is_valid() && bool_argument(op, "return_lse", k.return_lse);
  read_scalars(a, k);
  Operands operands;
  read_operands(a, operands, query, key, value, k);
  const AttentionResultShape shape = check_attention(a);

  const bool in_place = given(k.out);
  Operand out = in_place ? Operand::output(op, k.out)
                         : Operand::result(kind, {shape.shape.data(), static_cast<size_t>(shape.rank)},
                                           a.query.dtype, device);
  a.out = out.tensor();
  if (in_place) {
    check_attention_out(a, shape);
    out.prepare_output(device);
    a.out = out.tensor();
  }
  std::optional<Operand> lse;
  bool wait = operands.prepare(device) || out.needs_wait();
  if (return_lse) {
    a.lse = lse.emplace(Operand::result(kind, lse_shape(shape), DType::kFloat32, device)).tensor();
    wait = wait || lse->needs_wait();
  }
  run_without_gil(attention_cost(a), [&] {
    run_attention(device, a);
    if (wait) device.wait();
  });
  out.finish();
  nb::object result = in_place ? nb::borrow(k.out) : out.to_python(kind, query);
  if (!return_lse) return result;
  return nb::make_tuple(result, lse->to_python(kind, query));
}

namespace {

nb::object dense_call(const char* op, nb::handle q, nb::handle k, nb::handle v,
                      const AttentionKeywords& keywords, int64_t max_query_length) {
  return attend(op, q, {nb::borrow(k), {}, {}}, {nb::borrow(v), {}, {}}, keywords, max_query_length, false);
}

nb::object sdpa(nb::handle q, nb::handle k, nb::handle v, nb::handle scale, nb::handle causal,
                nb::handle window_size, nb::handle softcap, nb::handle mask, nb::handle alibi_slopes,
                nb::handle sinks, nb::handle kv_lengths, nb::handle ring_start, nb::handle out,
                nb::handle return_lse, nb::handle device) {
  return dense_call("sdpa", q, k, v,
                    {scale, causal, window_size, softcap, mask, alibi_slopes, sinks, kv_lengths, ring_start,
                     out, return_lse, device, nb::handle()},
                    0);
}

nb::object sdpa_sliding(nb::handle q, nb::handle k, nb::handle v, nb::handle window_size, nb::handle scale,
                        nb::handle softcap, nb::handle sinks, nb::handle kv_lengths, nb::handle ring_start,
                        nb::handle out, nb::handle return_lse, nb::handle device) {
  if (window_size.is_none()) throw ValueError("sdpa_sliding: window_size must be given, got None");
  return dense_call("sdpa_sliding", q, k, v,
                    {scale, nb::handle(), window_size, softcap, nb::handle(), nb::handle(), sinks, kv_lengths,
                     ring_start, out, return_lse, device, nb::handle()},
                    0);
}

nb::object flash_attn_vec(nb::handle q, nb::handle k, nb::handle v, nb::handle scale, nb::handle causal,
                          nb::handle window_size, nb::handle softcap, nb::handle mask,
                          nb::handle alibi_slopes, nb::handle sinks, nb::handle kv_lengths,
                          nb::handle ring_start, nb::handle out, nb::handle return_lse, nb::handle device,
                          nb::handle splits) {
  return dense_call("flash_attn_vec", q, k, v,
                    {scale, causal, window_size, softcap, mask, alibi_slopes, sinks, kv_lengths, ring_start,
                     out, return_lse, device, splits},
                    16);
}

nb::object merge_attention(nb::handle outs, nb::handle lses, nb::handle out, nb::handle return_lse) {
  constexpr const char* kOp = "merge_attention";
  std::vector<nb::object> out_parts, lse_parts;
  for (nb::handle part : nb::iter(outs)) out_parts.push_back(nb::borrow(part));
  for (nb::handle part : nb::iter(lses)) lse_parts.push_back(nb::borrow(part));
  if (out_parts.size() != lse_parts.size() || out_parts.empty()) {
    throw ValueError(concat(kOp, ": outs and lses must hold the same number of parts, at least 1, got ",
                            out_parts.size(), " and ", lse_parts.size()));
  }
  const ArrayKind kind = kind_of(out_parts[0]);
  std::vector<nb::handle> arrays(out_parts.begin(), out_parts.end());
  arrays.insert(arrays.end(), lse_parts.begin(), lse_parts.end());
  arrays.push_back(out);
  Device& device = device_of_call(kOp, nb::none(), arrays);

  std::vector<Operand> operands;
  std::vector<AttentionPart> parts;
  for (size_t i = 0; i < out_parts.size(); ++i) {
    operands.push_back(Operand::input(kOp, "outs", out_parts[i]));
    operands.push_back(Operand::input(kOp, "lses", lse_parts[i]));
    parts.push_back({operands[2 * i].tensor(), operands[2 * i + 1].tensor()});
  }
  check_merge_attention(parts);
  const Tensor like = parts[0].out;
  const std::span<const int64_t> shape = std::span(like.shape).first(static_cast<size_t>(like.rank));
  Operand result;
  if (given(out)) {
    result = Operand::output(kOp, out);
    check_merge_attention_out(parts, result.tensor());
    result.prepare_output(device);
  } else {
    result = Operand::result(kind, shape, like.dtype, device);
  }
  Operand lse;
  const bool return_lses = bool_argument(kOp, "return_lse", return_lse);
  if (return_lses) lse = Operand::result(kind, shape.first(shape.size() - 1), DType::kFloat32, device);
  bool wait = result.needs_wait() || lse.needs_wait();
  for (size_t i = 0; i < parts.size(); ++i) {
    operands[2 * i].prepare(device);
    operands[2 * i + 1].prepare(device, true);
    wait = wait || operands[2 * i].needs_wait() || operands[2 * i + 1].needs_wait();
    parts[i] = {operands[2 * i].tensor(), operands[2 * i + 1].tensor()};
  }
  run_without_gil(static_cast<uint64_t>(like.element_count()) * parts.size(), [&] {
    run_merge_attention(device, parts, result.tensor(), lse.tensor());
    if (wait) device.wait();
  });
  result.finish();
  nb::object joined = given(out) ? nb::borrow(out) : result.to_python(kind, out_parts[0]);
  if (!return_lses) return joined;
  return nb::make_tuple(joined, lse.to_python(kind, out_parts[0]));
}

}  // namespace

void define_attention() {
  define_native<&sdpa>("sdpa", "q", "k", "v", "scale", "causal", "window_size", "softcap", "mask",
                       "alibi_slopes", "sinks", "kv_lengths", "ring_start", "out", "return_lse", "device");
  define_native<&sdpa_sliding>("sdpa_sliding", "q", "k", "v", "window_size", "scale", "softcap", "sinks",
                               "kv_lengths", "ring_start", "out", "return_lse", "device");
  define_native<&flash_attn_vec>("flash_attn_vec", "q", "k", "v", "scale", "causal", "window_size", "softcap",
                                 "mask", "alibi_slopes", "sinks", "kv_lengths", "ring_start", "out",
                                 "return_lse", "device", "splits");
  define_native<&merge_attention>("merge_attention", "outs", "lses", "out", "return_lse");
}

}  // namespace metalhead::python
