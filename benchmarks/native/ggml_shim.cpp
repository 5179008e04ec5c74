// ggml's CPU flash attention behind a C interface that ctypes can call: one prepared graph for each call.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "ggml-cpu.h"
#include "ggml.h"

namespace {

struct Graph {
  ggml_context* context = nullptr;
  ggml_cgraph* graph = nullptr;
  ggml_cplan plan{};
  std::vector<uint8_t> work;
};

ggml_tensor* view(ggml_context* context, ggml_type type, const void* data, int64_t columns, int64_t rows,
                  int64_t heads, size_t row_bytes, size_t head_bytes) {
  ggml_tensor* tensor = ggml_new_tensor_3d(context, type, columns, rows, heads);
  tensor->data = const_cast<void*>(data);
  tensor->nb[1] = row_bytes;
  tensor->nb[2] = head_bytes;
  tensor->nb[3] = head_bytes * static_cast<size_t>(heads);
  return tensor;
}

}  // namespace

extern "C" {

/// The type of a name such as "q4_0", or -1.
int bench_type(const char* name) {
  for (int type = 0; type < GGML_TYPE_COUNT; ++type) {
    const char* known = ggml_type_name(static_cast<ggml_type>(type));
    if (known != nullptr && std::strcmp(known, name) == 0) return type;
  }
  return -1;
}

const char* bench_version() { return ggml_version(); }

uint64_t bench_row_bytes(int type, int64_t columns) {
  return ggml_row_size(static_cast<ggml_type>(type), columns);
}

void bench_quantize(int type, const float* source, void* target, int64_t rows, int64_t columns) {
  ggml_quantize_chunk(static_cast<ggml_type>(type), source, target, 0, rows, columns, nullptr);
}

void bench_dequantize(int type, const void* source, float* target, int64_t count) {
  ggml_get_type_traits(static_cast<ggml_type>(type))->to_float(source, target, count);
}

/// Attention of float32 q [query_heads, rows, d] over K and V [kv_heads, keys, d] of `type`, whose heads lie
/// `head_bytes` apart; `mask` is float16 [rows, keys] or null; `out` is float32 [rows, query_heads, d].
void* bench_attention(int threads, int type, int64_t query_heads, int64_t kv_heads, int64_t d, int64_t rows,
                      int64_t keys, uint64_t head_bytes, float scale, const float* q, const void* k,
                      const void* v, const void* mask, float* out) {
  ggml_cpu_init();
  const auto kind = static_cast<ggml_type>(type);
  auto* made = new Graph;
  made->context = ggml_init({ggml_tensor_overhead() * 16 + ggml_graph_overhead() + 4096, nullptr, true});
  const size_t row_bytes = ggml_row_size(kind, d), q_row = 4 * static_cast<size_t>(d);
  ggml_tensor* query = view(made->context, GGML_TYPE_F32, q, d, rows, query_heads, q_row, q_row * rows);
  ggml_tensor* key = view(made->context, kind, k, d, keys, kv_heads, row_bytes, head_bytes);
  ggml_tensor* value = view(made->context, kind, v, d, keys, kv_heads, row_bytes, head_bytes);
  ggml_tensor* hidden = nullptr;
  if (mask != nullptr) {
    const size_t mask_row = 2 * static_cast<size_t>(keys);
    hidden = view(made->context, GGML_TYPE_F16, mask, keys, rows, 1, mask_row, mask_row * rows);
  }
  ggml_tensor* result = ggml_flash_attn_ext(made->context, query, key, value, hidden, scale, 0.0F, 0.0F);
  result->data = out;
  made->graph = ggml_new_graph(made->context);
  ggml_build_forward_expand(made->graph, result);
  made->plan = ggml_graph_plan(made->graph, threads, nullptr);
  made->work.resize(made->plan.work_size + 64);
  const auto address = reinterpret_cast<uintptr_t>(made->work.data());
  made->plan.work_data = made->work.data() + (64 - address % 64) % 64;
  return made;
}

int bench_run(void* graph) {
  auto* made = static_cast<Graph*>(graph);
  return ggml_graph_compute(made->graph, &made->plan);
}

void bench_free(void* graph) {
  auto* made = static_cast<Graph*>(graph);
  ggml_free(made->context);
  delete made;
}
}
