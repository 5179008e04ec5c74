#include "bindings/turboquant.h"

#include <algorithm>
#include <string>

#include "bindings/attention_call.h"
#include "bindings/device.h"
#include "bindings/gil.h"
#include "bindings/native_function.h"
#include "bindings/numpy_access.h"
#include "bindings/operand.h"
#include "bindings/scalars.h"
#include "core/error.h"
#include "metal/common/codebooks.h"
#include "ops/hadamard.h"
#include "ops/tq_codec.h"

namespace metalhead::python {

namespace {

bool given(nb::handle object) { return object.is_valid() && !object.is_none(); }

std::optional<uint64_t> seed_from_python(const char* op, nb::handle object) {
  if (!given(object)) return std::nullopt;
  if (PyBool_Check(object.ptr()) || !PyIndex_Check(object.ptr())) {
    throw TypeError(
        concat(op, ": seed must be an integer or None, got ", nb::cast<std::string>(nb::repr(object))));
  }
  const nb::object index = nb::steal(PyNumber_Index(object.ptr()));
  const unsigned long long seed = PyLong_AsUnsignedLongLong(index.ptr());
  if (PyErr_Occurred()) {
    PyErr_Clear();
    throw ValueError(
        concat(op, ": seed must be from 0 to 2^64 - 1, got ", nb::cast<std::string>(nb::str(index))));
  }
  return seed;
}

NormKind norm_kind_from_python(const char* op, nb::handle object) {
  const std::string name = nb::cast<std::string>(nb::str(object));
  if (name == "plain") return kNormPlain;
  if (name == "corrected") return kNormCorrected;
  if (name == "unbiased") return kNormUnbiased;
  throw ValueError(concat(op, ": norm must be 'plain', 'corrected' or 'unbiased', got '", name, "'"));
}

int small_int(const char* op, const char* name, nb::handle object) {
  const int64_t value = int_argument(op, name, object);
  return static_cast<int>(std::clamp<int64_t>(value, INT32_MIN, INT32_MAX));
}

/// A format that has passed its checks, with the signs of its seed; `TQFormat` keeps one as `_checked`.
struct CheckedFormat {
  TQFormat format;
  PackedFormat packed;
};

void make_format(CheckedFormat* self, nb::handle bits, nb::handle head_dim, nb::handle seed, nb::handle norm,
                 nb::handle search, nb::handle norm_dtype) {
  constexpr const char* kOp = "TQFormat";
  TQFormat format;
  format.bits = small_int(kOp, "bits", bits);
  format.head_dim = small_int(kOp, "head_dim", head_dim);
  format.seed = seed_from_python(kOp, seed);
  format.norm = norm_kind_from_python(kOp, norm);
  format.search = small_int(kOp, "search", search);
  format.norm_dtype = dtype_from_python(norm_dtype);
  check_format(kOp, format);
  new (self)
      CheckedFormat{format, {format.bits, format.head_dim, signs_of_seed(format.seed, format.head_dim)}};
}

/// Shapes of codes and norms for vectors of this shape.
struct PackedShapes {
  std::array<int64_t, kMaxRank> codes{};
  size_t rank;

  PackedShapes(const Tensor& x, const TQFormat& format) : codes(x.shape), rank(static_cast<size_t>(x.rank)) {
    codes[rank - 1] = packed_bytes(format.bits, format.head_dim);
  }
  std::span<const int64_t> of_codes() const { return std::span(codes).first(rank); }
  std::span<const int64_t> of_norms() const { return std::span(codes).first(rank - 1); }
};

nb::object tq_encode(nb::handle x, const CheckedFormat& checked, nb::handle codes_out, nb::handle norms_out,
                     nb::handle device_name) {
  constexpr const char* kOp = "tq_encode";
  const TQFormat& format = checked.format;
  const ArrayKind kind = kind_of(x);
  const nb::handle arrays[] = {x, codes_out, norms_out};
  Device& device = device_of_call(kOp, device_name, arrays);
  Operand input = Operand::input(kOp, "x", x);
  check_tq_encode(input.tensor(), format);
  const bool in_place = given(codes_out);
  Operand codes, norms;
  if (in_place) {
    codes = Operand::output(kOp, codes_out);
    norms = Operand::output(kOp, norms_out);
    check_tq_encode_out(input.tensor(), format, codes.tensor(), norms.tensor());
    codes.prepare_output(device);
    norms.prepare_output(device);
  } else {
    const PackedShapes shapes(input.tensor(), format);
    codes = Operand::result(kind, shapes.of_codes(), DType::kUInt8, device);
    norms = Operand::result(kind, shapes.of_norms(), format.norm_dtype, device);
  }
  input.prepare(device);
  {
    const GilRelease nogil;
    run_tq_encode(device, input.tensor(), format, codes.tensor(), norms.tensor(), in_place);
  }
  codes.finish();
  norms.finish();
  return nb::make_tuple(codes.to_python(kind, x), norms.to_python(kind, x));
}

nb::object tq_decode(nb::handle codes_array, nb::handle norms_array, const CheckedFormat& checked,
                     nb::handle rotated, nb::handle dtype) {
  constexpr const char* kOp = "tq_decode";
  const TQFormat& format = checked.format;
  const bool stay_rotated = bool_argument(kOp, "rotated", rotated);
  const DType out_dtype = dtype_from_python(dtype);
  if (!is_floating(out_dtype)) {
    throw TypeError(concat(kOp, ": dtype must be float32, float16 or bfloat16, got ", name_of(out_dtype)));
  }
  const ArrayKind kind = kind_of(codes_array);
  const nb::handle arrays[] = {codes_array, norms_array};
  Device& device = device_of_call(kOp, nb::none(), arrays);
  Operand codes = Operand::input(kOp, "codes", codes_array);
  Operand norms = Operand::input(kOp, "norms", norms_array);
  check_packed(kOp, "x's", codes.tensor(), norms.tensor(), format.bits, format.head_dim);
  std::array<int64_t, kMaxRank> shape = codes.tensor().shape;
  const size_t rank = static_cast<size_t>(codes.tensor().rank);
  shape[rank - 1] = format.head_dim;
  const Operand out = Operand::result(kind, std::span(shape).first(rank), out_dtype, device);
  codes.prepare(device);
  norms.prepare(device);
  {
    const GilRelease nogil;
    run_tq_decode(device, codes.tensor(), norms.tensor(), format, stay_rotated, out.tensor());
    if (codes.needs_wait() || norms.needs_wait() || out.needs_wait()) device.wait();
  }
  return out.to_python(kind, codes_array);
}

nb::object hadamard(nb::handle x, nb::handle seed, nb::handle inverse, nb::handle out_array,
                    nb::handle device_name) {
  constexpr const char* kOp = "hadamard";
  const std::optional<uint64_t> seed_value = seed_from_python(kOp, seed);
  const bool inverted = bool_argument(kOp, "inverse", inverse);
  const ArrayKind kind = kind_of(x);
  const nb::handle arrays[] = {x, out_array};
  Device& device = device_of_call(kOp, device_name, arrays);
  Operand input = Operand::input(kOp, "x", x);
  const Tensor& tensor = input.tensor();
  check_hadamard(tensor);
  Operand out;
  if (given(out_array)) {
    out = Operand::output(kOp, out_array);
    check_hadamard_out(tensor, out.tensor());
    out.prepare_output(device);
  } else {
    out = Operand::result(kind, std::span(tensor.shape).first(static_cast<size_t>(tensor.rank)), tensor.dtype,
                          device);
  }
  input.prepare(device);
  {
    const GilRelease nogil;
    run_hadamard(device, tensor, seed_value, inverted, out.tensor());
    if (input.needs_wait() || out.needs_wait()) device.wait();
  }
  out.finish();
  return given(out_array) ? nb::borrow(out_array) : out.to_python(kind, x);
}

nb::handle tq_tensor_type() {
  static const nb::handle kType =
      nb::object(nb::module_::import_("metalhead.turboquant").attr("TQTensor")).release();
  return kType;
}

nb::object attribute(nb::handle object, PyObject* interned_name) {
  nb::object value = nb::steal(PyObject_GetAttr(object.ptr(), interned_name));
  if (!value.is_valid()) throw nb::python_error();
  return value;
}

/// Codes, norms and format of a TQTensor; anything else is a dense array.
CacheSide side_from_python(nb::handle x) {
  static PyObject* const codes = PyUnicode_InternFromString("codes");
  static PyObject* const norms = PyUnicode_InternFromString("norms");
  static PyObject* const format = PyUnicode_InternFromString("format");
  static PyObject* const checked = PyUnicode_InternFromString("_checked");
  if (!PyObject_TypeCheck(x.ptr(), reinterpret_cast<PyTypeObject*>(tq_tensor_type().ptr()))) {
    return {nb::borrow(x), {}, {}};
  }
  const nb::object held = attribute(attribute(x, format), checked);
  return {attribute(x, codes), attribute(x, norms), nb::cast<const CheckedFormat&>(held).packed};
}

nb::object tq_attention(nb::handle q, nb::handle k, nb::handle v, nb::handle scale, nb::handle causal,
                        nb::handle window_size, nb::handle softcap, nb::handle mask, nb::handle alibi_slopes,
                        nb::handle sinks, nb::handle kv_lengths, nb::handle ring_start, nb::handle out,
                        nb::handle return_lse, nb::handle device, nb::handle rotated, nb::handle splits) {
  constexpr const char* kOp = "tq_attention";
  const CacheSide key = side_from_python(k), value = side_from_python(v);
  if (!key.format.packed() && !value.format.packed()) {
    throw TypeError(concat(kOp, ": k or v must be a TQTensor, got ", text_of(k.type().attr("__name__")),
                           " and ", text_of(v.type().attr("__name__")), "; use sdpa for dense arrays"));
  }
  return attend(kOp, q, key, value,
                {scale, causal, window_size, softcap, mask, alibi_slopes, sinks, kv_lengths, ring_start, out,
                 return_lse, device, splits},
                0, bool_argument(kOp, "rotated", rotated));
}

const float* levels_of(int bits) {
  switch (bits) {
    case 2:
      return kLevels2;
    case 3:
      return kLevels3;
    case 4:
      return kLevels4;
    case 5:
      return kLevels5;
    default:
      return kLevels6;
  }
}

nb::object codebook(nb::handle bits_object) {
  TQFormat format;
  format.bits = small_int("codebook", "bits", bits_object);
  check_format("codebook", format);
  const int64_t count = int64_t{1} << format.bits;
  Tensor tensor;
  const nb::object levels = new_numpy({&count, 1}, DType::kFloat32, tensor);
  for (int64_t k = 0; k < count; ++k) {
    tensor.data_as<float>()[k] = format.bits == 8 ? static_cast<float>(k - 128) : levels_of(format.bits)[k];
  }
  return levels;
}

}  // namespace

void bind_turboquant(nb::module_& module) {
  nb::class_<CheckedFormat>(module, "CheckedFormat",
                            "The fields of a `TQFormat` that have passed their checks.")
      .def("__init__", &make_format, nb::arg("bits"), nb::arg("head_dim"), nb::arg("seed").none(),
           nb::arg("norm"), nb::arg("search"), nb::arg("norm_dtype"));
  module.def(
      "tq_encode", &tq_encode,
      nb::sig("def tq_encode(x: object, format: CheckedFormat, codes: object | None, norms: object | None, "
              "device: object | None) -> tuple[Any, Any]"),
      nb::arg("x"), nb::arg("format"), nb::arg("codes").none(), nb::arg("norms").none(),
      nb::arg("device").none());
  module.def("tq_decode", &tq_decode, nb::arg("codes"), nb::arg("norms"), nb::arg("format"),
             nb::arg("rotated"), nb::arg("dtype"));
  module.def("codebook", &codebook, nb::sig("def codebook(bits: object) -> NDArray[numpy.float32]"),
             nb::arg("bits"));
  define_native<&hadamard>("hadamard", "x", "seed", "inverse", "out", "device");
  define_native<&tq_attention>("tq_attention", "q", "k", "v", "scale", "causal", "window_size", "softcap",
                               "mask", "alibi_slopes", "sinks", "kv_lengths", "ring_start", "out",
                               "return_lse", "device", "rotated", "splits");
}

}  // namespace metalhead::python
