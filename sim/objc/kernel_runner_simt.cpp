// Runs the look-alike's commands on the SIMT runtime.
#include "objc/kernel_runner.h"
#include "simt/simt.h"

namespace metalhead::sim {
namespace {

std::optional<int> constant_named(const simt::KernelInfo& kernel, const std::string& name) {
  for (const simt::ConstantInfo& constant : kernel.constants) {
    if (constant.name == name) return constant.index;
  }
  return std::nullopt;
}

KernelArgument describe_argument(const simt::KernelInfo& kernel, const simt::ArgumentInfo& from) {
  KernelArgument argument;
  argument.index = from.index;
  argument.name = from.name;
  argument.writes = from.access == simt::Access::kReadWrite;
  argument.conditional = !from.condition.empty();
  if (argument.conditional) argument.condition = constant_named(kernel, from.condition);
  argument.element_bytes = static_cast<uint32_t>(from.element_bytes);
  argument.element_alignment = static_cast<uint32_t>(from.element_align);
  return argument;
}

void add_ranges(const std::vector<simt::ByteRange>& from, const std::byte* base, bool written,
                KernelResult* result) {
  for (const simt::ByteRange& range : from)
    result->touched.push_back({base + range.begin, base + range.end, written});
}

}  // namespace

std::optional<KernelDescription> describe_kernel(const std::string& name) {
  const simt::KernelInfo* from = simt::find_kernel(name);
  if (from == nullptr) return std::nullopt;
  KernelDescription kernel;
  kernel.name = from->name;
  kernel.source_file = from->file;
  for (const simt::ArgumentInfo& argument : from->buffers)
    kernel.buffers.push_back(describe_argument(*from, argument));
  for (const simt::ArgumentInfo& argument : from->threadgroup_arguments) {
    kernel.threadgroup_arguments.push_back(argument.index);
  }
  for (const simt::ConstantInfo& constant : from->constants) {
    kernel.constants.push_back({constant.index, constant.name, constant.type,
                                static_cast<uint32_t>(constant.bytes), !constant.required});
  }
  kernel.max_threads_per_threadgroup = static_cast<uint32_t>(from->max_threads_per_threadgroup);
  kernel.static_threadgroup_bytes = static_cast<uint32_t>(from->static_threadgroup_bytes);
  return kernel;
}

KernelResult run_kernel(const KernelCall& call) {
  simt::Dispatch dispatch;
  dispatch.kernel = simt::find_kernel(call.kernel);
  for (const auto& [index, value] : call.constants) dispatch.constants[index] = value.bytes;
  for (size_t slot = 0; slot < call.buffers.size(); ++slot) {
    dispatch.buffers[slot] = {call.buffers[slot].data, call.buffers[slot].length};
  }
  for (const auto& [index, bytes] : call.threadgroup_bytes)
    dispatch.threadgroup_bytes[static_cast<size_t>(index)] = bytes;
  dispatch.threadgroups = {call.threadgroups[0], call.threadgroups[1], call.threadgroups[2]};
  dispatch.threads_per_threadgroup = {call.threads[0], call.threads[1], call.threads[2]};
  dispatch.seed = call.seed;
  const simt::Result run = simt::run(dispatch);
  KernelResult result;
  result.error = run.error;
  result.ranges_known = dispatch.kernel->instrumented;
  for (const simt::Traffic& traffic : run.counters.traffic) {
    if (traffic.index < 0) continue;
    const std::byte* base = call.buffers[static_cast<size_t>(traffic.index)].data;
    add_ranges(traffic.loaded, base, false, &result);
    add_ranges(traffic.stored, base, true, &result);
  }
  return result;
}

}  // namespace metalhead::sim
