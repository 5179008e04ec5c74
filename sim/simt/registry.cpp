// The kernels of this process: registered by static objects of generated translation units, described on
// demand.
#include <algorithm>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>

#include "simt.h"
#include "simt_kernel_abi.h"
#include "threadgroup_variables.h"

namespace metalhead::simt {
namespace {

struct Registry {
  std::mutex mutex;
  std::map<std::string, const SimtKernel*, std::less<>> kernels;
  std::set<std::string, std::less<>> duplicates;
  std::map<std::string, std::unique_ptr<KernelInfo>, std::less<>> described;
  std::set<std::pair<const SimtThreadgroupVariable*, const SimtThreadgroupVariable*>> variables;
};

Registry& registry() {
  static Registry instance;
  return instance;
}

constexpr std::size_t kBlockAlignment = 16;

std::vector<const SimtThreadgroupVariable*> variables_of(const Registry& known, const void* function) {
  std::vector<const SimtThreadgroupVariable*> found;
  for (auto [first, last] : known.variables)
    for (const SimtThreadgroupVariable* variable = first; variable != last; ++variable)
      if (variable->function == function) found.push_back(variable);
  return found;
}

ArgumentInfo describe(const SimtArgument& argument) {
  return {argument.index,
          argument.name,
          argument.type,
          argument.access == kSimtRead ? Access::kRead : Access::kReadWrite,
          argument.condition != nullptr ? argument.condition : "",
          argument.element_bytes,
          argument.element_align};
}

std::unique_ptr<KernelInfo> describe(const Registry& known, const SimtKernel& kernel) {
  auto info = std::make_unique<KernelInfo>();
  info->name = kernel.name;
  info->file = kernel.file;
  info->line = kernel.line;
  for (int i = 0; i < kernel.argument_count; ++i) {
    const SimtArgument& argument = kernel.arguments[i];
    if (argument.kind == kSimtBuffer) info->buffers.push_back(describe(argument));
    if (argument.kind == kSimtThreadgroup) info->threadgroup_arguments.push_back(describe(argument));
  }
  for (int i = 0; i < kernel.constant_count; ++i) {
    const SimtConstant& constant = kernel.constants[i];
    info->constants.push_back(
        {constant.index, constant.name, constant.type, constant.bytes, !constant.optional});
  }
  for (const SimtThreadgroupVariable* variable : variables_of(known, kernel.function))
    info->static_threadgroup_bytes +=
        (variable->bytes + kBlockAlignment - 1) / kBlockAlignment * kBlockAlignment;
  if (kernel.max_threads_per_threadgroup > 0)
    info->max_threads_per_threadgroup = static_cast<std::size_t>(kernel.max_threads_per_threadgroup);
  info->instrumented = kernel.instrumented;
  info->kernel = &kernel;
  return info;
}

}  // namespace

const KernelInfo* find_kernel(std::string_view name) {
  Registry& known = registry();
  std::lock_guard lock(known.mutex);
  auto found = known.kernels.find(name);
  if (found == known.kernels.end()) return nullptr;
  if (known.duplicates.contains(name))
    throw std::logic_error("kernel '" + found->first + "' is registered twice");
  auto& described = known.described[found->first];
  if (!described) described = describe(known, *found->second);
  return described.get();
}

std::vector<std::string> kernel_names() {
  Registry& known = registry();
  std::lock_guard lock(known.mutex);
  std::vector<std::string> names;
  for (const auto& [name, kernel] : known.kernels) names.push_back(name);
  return names;
}

std::vector<const SimtThreadgroupVariable*> threadgroup_variables(const SimtKernel& kernel) {
  Registry& known = registry();
  std::lock_guard lock(known.mutex);
  return variables_of(known, kernel.function);
}

}  // namespace metalhead::simt

void simt_register_kernel(const SimtKernel* kernel) {
  auto& known = metalhead::simt::registry();
  std::lock_guard lock(known.mutex);
  if (!known.kernels.emplace(kernel->name, kernel).second) known.duplicates.insert(kernel->name);
}

void simt_register_threadgroup_variables(SimtThreadgroupVariable* first, SimtThreadgroupVariable* last) {
  if (first == last) return;
  auto& known = metalhead::simt::registry();
  std::lock_guard lock(known.mutex);
  known.variables.insert({first, last});
}
