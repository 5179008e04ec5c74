// One attention problem with random data: its launches, and its answer by the formula.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "devices/cpu/kernel_table.h"
#include "guarded_array.h"
#include "params/attention_params.h"
#include "params/function_constants.h"

namespace metalhead::test {

/// What a case asks for; the data follows from it and the seed.
struct CaseOptions {
  uint32_t seed = 1;
  int batch = 1, query_heads = 1, kv_heads = 1;
  int query_length = 1, kv_length = 16, kv_capacity = 16;
  int head_dim = 64, value_dim = 64;
  int window_left = METALHEAD_MAX_LENGTH, window_right = 0;
  DType query_dtype = DType::kFloat32, kv_dtype = DType::kFloat32, out_dtype = DType::kFloat32;
  float softcap = 0.0f;
  float score_size = 1.0f;  ///< multiplies the queries: large scores make softmax steep
  uint32_t mask_kind = kMaskNone;
  uint32_t mask_broadcast = 0;  ///< bit a set: the mask broadcasts along axis a
  bool alibi = false, sinks = false, ragged = false, ring = false, ring_per_sequence = false, lse = true;
  bool token_major = false;  ///< heads lie inside a row's memory, and rows have a gap
  bool cancelling = false;   ///< values of neighbouring keys nearly cancel: results are far smaller than they

  std::string text() const;
};

struct Answer {
  std::vector<double> out;  ///< [batch, query_heads, query_length, value_dim]
  std::vector<double> lse;  ///< [batch, query_heads, query_length]
};

class AttentionCase {
 public:
  explicit AttentionCase(const CaseOptions& options);

  /// The formula, summed in double or as a plain float32 program would.
  Answer reference() const { return by_formula<double>(); }
  Answer plain_float() const;

  Answer run_sdpa(const cpu::KernelTable& table, int rows_per_group);
  Answer run_flash_attn_vec(const cpu::KernelTable& table, int splits);

 private:
  struct Strides {
    int64_t batch, head, row;
    int64_t at(int64_t b, int64_t h, int64_t r) const { return b * batch + h * head + r * row; }
  };

  template <class Real>
  Answer by_formula() const;
  template <class Real>
  void row_by_formula(int b, int h, int i, Real* out, Real* lse) const;
  Strides layout(int heads, int rows, int dim, int64_t* count) const;
  void fill_keys_and_values(std::mt19937& random);
  void fill_mask(std::mt19937& random);
  int length_of(int b) const;
  int64_t physical_row(int b, int j) const;
  bool is_masked_out(int b, int h, int i, int j, float* bias) const;
  Launch make_launch(const char* kernel, AttentionParams params);
  AttentionParams make_params() const;
  Answer take_answer() const;

  CaseOptions options_;
  Strides query_strides_, key_strides_, value_strides_, out_strides_;
  int64_t mask_strides_[4] = {};
  GuardedArray query_, key_, value_, out_, lse_, mask_, slopes_, sinks_, lengths_, ring_starts_;
  std::vector<float> query_floats_, key_floats_, value_floats_;  ///< what the formula reads again and again
};

/// Runs the whole grid, a few threadgroups at a time, in an order that no kernel may rely on.
void run_launch(const cpu::KernelTable& table, const Launch& launch);

}  // namespace metalhead::test
