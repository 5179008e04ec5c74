#include "bindings/operand.h"

#include <nanobind/ndarray.h>

#include "bindings/copy.h"
#include "bindings/device.h"
#include "bindings/numpy_access.h"
#include "core/error.h"

namespace metalhead::python {

namespace {

[[noreturn]] void throw_not_an_array(const char* op, const char* name, nb::handle object) {
  throw TypeError(concat(op, ": ", name,
                         " must be a NumPy array, a metalhead.Array or an object with __dlpack__, got ",
                         type_text(object)));
}

[[noreturn]] void throw_wrong_dtype(const char* op, const char* name, const std::string& dtype) {
  throw TypeError(concat(op, ": ", name, " has dtype ", dtype,
                         "; supported are float32, float16, bfloat16, bool, uint8 and int32"));
}

bool dtype_from_dlpack(nb::dlpack::dtype from, DType& dtype) {
  using Code = nb::dlpack::dtype_code;
  const auto code = static_cast<Code>(from.code);
  if (from.lanes != 1) return false;
  if (code == Code::Float && from.bits == 32) return dtype = DType::kFloat32, true;
  if (code == Code::Float && from.bits == 16) return dtype = DType::kFloat16, true;
  if (code == Code::Bfloat && from.bits == 16) return dtype = DType::kBFloat16, true;
  if (code == Code::UInt && from.bits == 8) return dtype = DType::kUInt8, true;
  if (code == Code::Int && from.bits == 32) return dtype = DType::kInt32, true;
  if (code == Code::Bool && from.bits == 8) return dtype = DType::kBool, true;
  return false;
}

Tensor compact(const Tensor& like, const Buffer& buffer) {
  Tensor tensor = like;
  tensor.buffer = buffer;
  tensor.byte_offset = 0;
  set_contiguous_strides(tensor);
  return tensor;
}

}  // namespace

ArrayKind kind_of(const char* op, const char* name, nb::handle object) {
  if (is_numpy(object)) return ArrayKind::kNumpy;
  if (nb::isinstance<Array>(object)) return ArrayKind::kArray;
  if (nb::hasattr(object, "__dlpack__")) return ArrayKind::kForeign;
  throw_not_an_array(op, name, object);
}

Device& device_of_call(const char* op, nb::handle device, std::span<const nb::handle> operands) {
  Device* chosen = device.is_none() ? nullptr : &device_from_python(device);
  for (nb::handle operand : operands) {
    if (!operand.is_valid() || operand.is_none() || is_numpy(operand) || !nb::isinstance<Array>(operand))
      continue;
    Device& owner = nb::inst_ptr<Array>(operand)->device();
    if (chosen == nullptr) chosen = &owner;
    if (chosen != &owner) {
      throw ValueError(concat(op, ": all arrays must be on the call's device, got '", chosen->name(),
                              "' and '", owner.name(), "'; convert with asarray(x, device=...)"));
    }
  }
  return chosen != nullptr ? *chosen : device_from_python(nb::none());
}

void Operand::describe(const char* op, const char* name, nb::handle object) {
  owner_ = nb::borrow(object);
  if (is_numpy(object)) {
    const NumpyLayout layout = describe_numpy(object, tensor_);
    if (layout == NumpyLayout::kWrongDtype) throw_wrong_dtype(op, name, numpy_dtype_text(object));
    needs_numpy_copy_ = layout == NumpyLayout::kNeedsCopy;
    return;
  }
  if (nb::isinstance<Array>(object)) {
    array_ = *nb::inst_ptr<Array>(object);
    tensor_ = array_->tensor;
    return;
  }
  nb::ndarray<nb::ro> foreign;
  if (!nb::hasattr(object, "__dlpack__") || !nb::try_cast(nb::handle(object), foreign))
    throw_not_an_array(op, name, object);
  if (foreign.device_type() != nb::device::cpu::value) {
    throw ValueError(concat(op, ": ", name, " must be in CPU memory, got a DLPack device of type ",
                            foreign.device_type()));
  }
  if (!dtype_from_dlpack(foreign.dtype(), tensor_.dtype)) {
    throw_wrong_dtype(op, name, text_of(object.attr("dtype")));
  }
  if (foreign.ndim() > kMaxRank)
    throw ValueError(concat(op, ": ", name, " may have at most ", kMaxRank, " axes"));
  tensor_.rank = static_cast<int>(foreign.ndim());
  for (size_t i = 0; i < foreign.ndim(); ++i) {
    tensor_.shape[i] = static_cast<int64_t>(foreign.shape(i));
    tensor_.strides[i] = tensor_.shape[i] > 1 ? foreign.stride(i) : 0;
    if (tensor_.strides[i] < 0) throw ValueError(concat(op, ": ", name, " must not have negative strides"));
  }
  tensor_.buffer.contents = const_cast<void*>(foreign.data());
  tensor_.buffer.size = tensor_.span_bytes();
  owner_ = nb::cast(foreign);
}

void Operand::use_host_memory(Device& device) {
  needs_wait_ = true;
  const Buffer wrapped = device.wrap(tensor_.data(), tensor_.span_bytes());
  if (wrapped.contents == nullptr) {
    copy_to_pool(device);
    return;
  }
  tensor_.buffer = wrapped;
  tensor_.byte_offset = 0;
  staged_ = ScratchBuffer::adopt(device, wrapped);
}

void Operand::copy_to_pool(Device& device) {
  staged_ = ScratchBuffer(device, static_cast<uint64_t>(tensor_.element_count()) * size_of(tensor_.dtype));
  const Tensor copy = compact(tensor_, staged_.get());
  copy_elements(tensor_, copy);
  tensor_ = copy;
}

void Operand::prepare_output(Device& device) {
  if (array_ || device.reads_host_memory() || tensor_.element_count() == 0) return;
  needs_wait_ = true;
  host_ = tensor_;
  staged_ = ScratchBuffer(device, static_cast<uint64_t>(tensor_.element_count()) * size_of(tensor_.dtype));
  tensor_ = compact(host_, staged_.get());
}

Operand Operand::input(const char* op, const char* name, nb::handle object) {
  Operand operand;
  operand.describe(op, name, object);
  return operand;
}

void Operand::prepare(Device& device, bool contiguous) {
  if (needs_numpy_copy_) {
    owner_ = numpy_copy(owner_);
    describe_numpy(owner_, tensor_);
  }
  if (tensor_.element_count() == 0) return;
  const bool has_gaps = contiguous ? !tensor_.is_contiguous() : !last_axis_is_contiguous(tensor_);
  if (!array_ && !device.reads_host_memory() && !has_gaps) {
    use_host_memory(device);
  } else if (has_gaps) {
    needs_wait_ = !device.reads_host_memory() && !array_;
    if (array_) device.wait();
    copy_to_pool(device);
  }
}

Operand Operand::output(const char* op, nb::handle object) {
  Operand operand;
  if (is_numpy(object)) {
    if (is_read_only(object)) throw ValueError(concat(op, ": out must be writable, got a read-only array"));
    Tensor layout;
    if (describe_numpy(object, layout) == NumpyLayout::kNeedsCopy) {
      throw ValueError(concat(op,
                              ": out must be aligned, in native byte order, with strides that are not "
                              "negative and a contiguous last axis"));
    }
  }
  operand.describe(op, "out", object);
  if (!last_axis_is_contiguous(operand.tensor_)) {
    throw ValueError(concat(op, ": out must be contiguous along its last axis"));
  }
  return operand;
}

Operand Operand::result(ArrayKind kind, std::span<const int64_t> shape, DType dtype, Device& device) {
  Operand operand;
  if (kind == ArrayKind::kNumpy && device.reads_host_memory()) {
    operand.owner_ = new_numpy(shape, dtype);
    describe_numpy(operand.owner_, operand.tensor_);
    return operand;
  }
  operand.array_ = make_array(device, shape, dtype);
  operand.tensor_ = operand.array_->tensor;
  operand.needs_wait_ = kind != ArrayKind::kArray;
  return operand;
}

void Operand::finish() const {
  if (host_.defined()) copy_elements(tensor_, host_);
}

nb::object Operand::to_python(ArrayKind kind, nb::handle prototype) const {
  if (owner_.is_valid()) return owner_;
  nb::object array = nb::cast(*array_);
  if (kind == ArrayKind::kArray) return array;
  if (kind == ArrayKind::kNumpy) return array.attr("numpy")();
  return nb::module_::import_("metalhead._interop").attr("like")(array, prototype);
}

}  // namespace metalhead::python
