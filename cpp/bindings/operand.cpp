#include "bindings/operand.h"

#include <utility>

#include "bindings/copy.h"
#include "bindings/device.h"
#include "bindings/numpy_access.h"
#include "core/error.h"

namespace metalhead::python {

namespace {

Tensor compact(const Tensor& like, const Buffer& buffer) {
  Tensor tensor = like;
  tensor.buffer = buffer;
  tensor.byte_offset = 0;
  set_contiguous_strides(tensor);
  return tensor;
}

}  // namespace

ArrayKind kind_of(nb::handle object) {
  if (is_numpy(object)) return ArrayKind::kNumpy;
  return is_array(object) ? ArrayKind::kArray : ArrayKind::kForeign;
}

Device& device_of_call(const char* op, nb::handle device, std::span<const nb::handle> operands) {
  Device* chosen = device.is_none() ? nullptr : &device_from_python(device);
  for (nb::handle operand : operands) {
    if (!operand.is_valid() || operand.is_none() || is_numpy(operand) || !is_array(operand)) continue;
    Device& owner = nb::inst_ptr<Array>(operand)->device();
    if (chosen == nullptr) chosen = &owner;
    if (chosen != &owner) {
      throw ValueError(concat(op, ": all arrays must be on the call's device, got '", chosen->name(),
                              "' and '", owner.name(), "'; convert with asarray(x, device=...)"));
    }
  }
  return chosen != nullptr ? *chosen : device_from_python(nb::none());
}

void Operand::describe(const char* op, const char* name, nb::handle object, Use use) {
  if (is_numpy(object)) {
    owner_ = nb::borrow(object);
    if (use == Use::kWrite && is_read_only(object)) {
      throw ValueError(concat(op, ": ", name, " must be writable, got a read-only array"));
    }
    const NumpyLayout layout = describe_numpy(object, tensor_);
    if (layout == NumpyLayout::kWrongDtype) throw_wrong_dtype(op, name, numpy_dtype_text(object));
    needs_numpy_copy_ = layout == NumpyLayout::kNeedsCopy;
  } else if (is_array(object)) {
    const Array& array = *nb::inst_ptr<Array>(object);
    owner_ = nb::borrow(object);
    storage_ = array.storage;
    tensor_ = array.tensor;
  } else {
    owner_ = describe_foreign(op, name, object, use, tensor_);
  }
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
  if (storage_ || device.reads_host_memory() || tensor_.element_count() == 0) return;
  needs_wait_ = true;
  host_ = tensor_;
  staged_ = ScratchBuffer(device, static_cast<uint64_t>(tensor_.element_count()) * size_of(tensor_.dtype));
  tensor_ = compact(*host_, staged_.get());
}

Operand Operand::input(const char* op, const char* name, nb::handle object) {
  Operand operand;
  operand.describe(op, name, object, Use::kRead);
  return operand;
}

void Operand::prepare(Device& device, bool contiguous) {
  if (needs_numpy_copy_) {
    owner_ = numpy_copy(owner_);
    describe_numpy(owner_, tensor_);
  }
  const bool has_gaps = contiguous ? !tensor_.is_contiguous() : !last_axis_is_contiguous(tensor_);
  const bool readable = storage_ != nullptr || device.reads_host_memory();
  if ((readable && !has_gaps) || tensor_.element_count() == 0) return;
  if (!has_gaps) {
    use_host_memory(device);
    return;
  }
  needs_wait_ = !readable;
  if (storage_ != nullptr) device.wait();
  copy_to_pool(device);
}

Operand Operand::output(const char* op, nb::handle object) {
  Operand operand;
  operand.describe(op, "out", object, Use::kWrite);
  if (operand.needs_numpy_copy_) {
    throw ValueError(concat(op,
                            ": out must be aligned, in native byte order, with strides that are not "
                            "negative and a contiguous last axis"));
  }
  if (!last_axis_is_contiguous(operand.tensor_)) {
    throw ValueError(concat(op, ": out must be contiguous along its last axis"));
  }
  return operand;
}

Operand Operand::result(ArrayKind kind, std::span<const int64_t> shape, DType dtype, Device& device) {
  Operand operand;
  if (kind == ArrayKind::kNumpy && device.reads_host_memory()) {
    operand.owner_ = new_numpy(shape, dtype, operand.tensor_);
    return operand;
  }
  Array array = make_array(device, shape, dtype);
  operand.storage_ = std::move(array.storage);
  operand.tensor_ = array.tensor;
  operand.needs_wait_ = kind != ArrayKind::kArray;
  return operand;
}

void Operand::finish() const {
  if (host_) copy_elements(tensor_, *host_);
}

nb::object Operand::to_python(ArrayKind kind, nb::handle prototype) const {
  if (owner_.is_valid()) return owner_;
  const Array array{storage_, tensor_};
  if (kind == ArrayKind::kForeign) return to_foreign(array, prototype);
  nb::object result = nb::cast(array);
  return kind == ArrayKind::kArray ? result : nb::object(result.attr("numpy")());
}

}  // namespace metalhead::python
