// Results cross the C interface as JSON text.
#include "c_api.h"

#include <cstring>
#include <exception>
#include <string>

#include "simt.h"

namespace {

using namespace metalhead::simt;

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + "\"";
}

/// A JSON object under construction.
class Object {
 public:
  Object& add(const char* key, const std::string& json) {
    text_ += std::string(text_.empty() ? "" : ", ") + "\"" + key + "\": " + json;
    return *this;
  }
  Object& add(const char* key, std::uint64_t value) { return add(key, std::to_string(value)); }
  std::string text() const { return "{" + text_ + "}"; }

 private:
  std::string text_;
};

template <class T, class F>
std::string list(const std::vector<T>& values, F to_json) {
  std::string text;
  for (const T& value : values) text += (text.empty() ? "" : ", ") + to_json(value);
  return "[" + text + "]";
}

std::string json(const Traffic& traffic) {
  return Object()
      .add("name", quoted(traffic.name))
      .add("index", std::to_string(traffic.index))
      .add("lane_load_bytes", traffic.lane_load_bytes)
      .add("load_bytes", traffic.load_bytes)
      .add("store_bytes", traffic.store_bytes)
      .add("unique_load_bytes", traffic.unique_load_bytes)
      .add("unique_store_bytes", traffic.unique_store_bytes)
      .add("simdgroup_loads", traffic.simdgroup_loads)
      .add("simdgroup_stores", traffic.simdgroup_stores)
      .text();
}

std::string json(const Result& result) {
  const Counters& counters = result.counters;
  const std::string counted =
      Object()
          .add("threadgroups", counters.threadgroups)
          .add("threads", counters.threads)
          .add("simdgroup_operations", counters.simdgroup_operations)
          .add("matrix_multiplies", counters.matrix_multiplies)
          .add("threadgroup_barriers", counters.threadgroup_barriers)
          .add("simdgroup_barriers", counters.simdgroup_barriers)
          .add("atomic_operations", counters.atomic_operations)
          .add("threadgroup_bytes", counters.threadgroup_bytes)
          .add("traffic", list(counters.traffic, [](const Traffic& t) { return json(t); }))
          .text();
  return Object().add("error", quoted(result.error)).add("counters", counted).text();
}

std::string json(const ArgumentInfo& argument) {
  return Object()
      .add("index", std::to_string(argument.index))
      .add("name", quoted(argument.name))
      .add("type", quoted(argument.type))
      .add("access", quoted(argument.access == Access::kRead ? "read" : "read_write"))
      .add("condition", quoted(argument.condition))
      .add("element_bytes", argument.element_bytes)
      .add("element_align", argument.element_align)
      .text();
}

std::string json(const ConstantInfo& constant) {
  return Object()
      .add("index", std::to_string(constant.index))
      .add("name", quoted(constant.name))
      .add("type", quoted(constant.type))
      .add("bytes", constant.bytes)
      .add("required", constant.required ? "true" : "false")
      .text();
}

std::string json(const KernelInfo& kernel) {
  const auto arguments = [](const std::vector<ArgumentInfo>& values) {
    return list(values, [](const ArgumentInfo& argument) { return json(argument); });
  };
  return Object()
      .add("name", quoted(kernel.name))
      .add("file", quoted(kernel.file))
      .add("line", std::to_string(kernel.line))
      .add("buffers", arguments(kernel.buffers))
      .add("threadgroup_arguments", arguments(kernel.threadgroup_arguments))
      .add("constants", list(kernel.constants, [](const ConstantInfo& constant) { return json(constant); }))
      .add("static_threadgroup_bytes", kernel.static_threadgroup_bytes)
      .add("max_threads_per_threadgroup", kernel.max_threads_per_threadgroup)
      .add("instrumented", kernel.instrumented ? "true" : "false")
      .text();
}

char* to_c(const std::string& text) {
  char* out = new char[text.size() + 1];
  std::memcpy(out, text.c_str(), text.size() + 1);
  return out;
}

Dispatch convert(const SimtApiDispatch& from) {
  Dispatch dispatch;
  dispatch.kernel = find_kernel(from.kernel);
  for (std::uint32_t i = 0; i < from.constant_count; ++i) {
    const auto* bytes = static_cast<const std::byte*>(from.constants[i].value);
    dispatch.constants[from.constants[i].index].assign(bytes, bytes + from.constants[i].bytes);
  }
  for (std::size_t i = 0; i < kMaxBuffers; ++i) {
    dispatch.buffers[i] = {from.buffers[i], from.buffer_bytes[i]};
    dispatch.threadgroup_bytes[i] = from.threadgroup_bytes[i];
  }
  dispatch.threadgroups = {from.threadgroups[0], from.threadgroups[1], from.threadgroups[2]};
  dispatch.threads_per_threadgroup = {from.threads[0], from.threads[1], from.threads[2]};
  dispatch.seed = from.seed;
  return dispatch;
}

}  // namespace

char* simt_api_run(const SimtApiDispatch* dispatch) {
  try {
    const Dispatch converted = convert(*dispatch);
    if (converted.kernel == nullptr)
      return to_c(json(Result{std::string("no kernel '") + dispatch->kernel + "'", {}}));
    return to_c(json(run(converted)));
  } catch (const std::exception& error) {
    return to_c(json(Result{error.what(), {}}));
  }
}

char* simt_api_kernels() {
  try {
    return to_c(list(kernel_names(), [](const std::string& name) { return json(*find_kernel(name)); }));
  } catch (const std::exception& error) {
    return to_c(json(Result{error.what(), {}}));
  }
}

void simt_api_free(char* text) { delete[] text; }
