// Builds attention problems, runs kernels on them and answers them by the formula.
#include "attention_case.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <sstream>

namespace metalhead::test {

std::string CaseOptions::text() const {
  std::ostringstream text;
  text << "seed " << seed << " batch " << batch << " heads " << query_heads << "/" << kv_heads << " rows "
       << query_length << " keys " << kv_length << "/" << kv_capacity << " dims " << head_dim << "/"
       << value_dim << " window (" << window_left << ", " << window_right << ") dtypes "
       << name_of(query_dtype) << "," << name_of(kv_dtype) << "," << name_of(out_dtype) << " softcap "
       << softcap << " mask " << mask_kind << "/" << mask_broadcast << " alibi " << alibi << " sinks "
       << sinks << " ragged " << ragged << " ring " << ring << ring_per_sequence << " token_major "
       << token_major << " cancelling " << cancelling;
  return text.str();
}

namespace {

std::vector<float> floats_of(const GuardedArray& array) {
  std::vector<float> floats(static_cast<size_t>(array.count()));
  for (size_t i = 0; i < floats.size(); ++i) floats[i] = array.get(static_cast<int64_t>(i));
  return floats;
}

}  // namespace

AttentionCase::Strides AttentionCase::layout(int heads, int rows, int dim, int64_t* count) const {
  const int64_t gap = options_.token_major ? 3 : 0;
  const int64_t row = options_.token_major ? heads * (dim + gap) : dim;
  const int64_t head = options_.token_major ? dim + gap : int64_t{rows} * dim;
  const Strides strides{int64_t{rows} * heads * (dim + gap), head, row};
  *count = strides.at(options_.batch - 1, heads - 1, rows - 1) + dim;
  return strides;
}

AttentionCase::AttentionCase(const CaseOptions& options) : options_(options) {
  const CaseOptions& o = options_;
  std::mt19937 random(o.seed);
  std::normal_distribution<float> normal;
  int64_t count = 0;
  query_strides_ = layout(o.query_heads, o.query_length, o.head_dim, &count);
  query_ = GuardedArray(o.query_dtype, count);
  for (int64_t i = 0; i < count; ++i) query_.set(i, normal(random) * o.score_size);
  out_strides_ = layout(o.query_heads, o.query_length, o.value_dim, &count);
  out_ = GuardedArray(o.out_dtype, count);
  lse_ = GuardedArray(DType::kFloat32, int64_t{o.batch} * o.query_heads * o.query_length);
  lengths_ = GuardedArray(DType::kInt32, o.batch);
  ring_starts_ = GuardedArray(DType::kInt32, o.batch);
  std::uniform_int_distribution<int> length(0, o.kv_length), start(0, o.kv_capacity - 1);
  const int common_start = start(random);
  for (int b = 0; b < o.batch; ++b) {
    lengths_.set(b, static_cast<float>(o.ragged ? length(random) : o.kv_length));
    ring_starts_.set(b, static_cast<float>(!o.ring ? 0 : o.ring_per_sequence ? start(random) : common_start));
  }
  slopes_ = GuardedArray(DType::kFloat32, o.query_heads);
  sinks_ = GuardedArray(DType::kFloat32, o.query_heads);
  for (int h = 0; h < o.query_heads; ++h) {
    slopes_.set(h, 0.5f / static_cast<float>(h + 1));
    sinks_.set(h, normal(random) * 2.0f);
  }
  fill_keys_and_values(random);
  query_floats_ = floats_of(query_);
  key_floats_ = floats_of(key_);
  value_floats_ = floats_of(value_);
  if (o.mask_kind != kMaskNone) fill_mask(random);
}

/// Rows that no query row sees hold NaN: reading one of them spoils the result.
void AttentionCase::fill_keys_and_values(std::mt19937& random) {
  const CaseOptions& o = options_;
  std::normal_distribution<float> normal;
  int64_t count = 0;
  key_strides_ = layout(o.kv_heads, o.kv_capacity, o.head_dim, &count);
  key_ = GuardedArray(o.kv_dtype, count);
  for (int64_t i = 0; i < count; ++i) key_.set(i, NAN);
  value_strides_ = layout(o.kv_heads, o.kv_capacity, o.value_dim, &count);
  value_ = GuardedArray(o.kv_dtype, count);
  for (int64_t i = 0; i < count; ++i) value_.set(i, NAN);
  for (int b = 0; b < o.batch; ++b) {
    const int64_t first = int64_t{length_of(b)} - o.query_length, last = int64_t{length_of(b)} - 1;
    for (int j = 0; j < length_of(b); ++j) {
      if (j < first - o.window_left || j > last + o.window_right) continue;
      for (int h = 0; h < o.kv_heads; ++h) {
        const int64_t row = physical_row(b, j);
        for (int d = 0; d < o.head_dim; ++d) key_.set(key_strides_.at(b, h, row) + d, normal(random));
        for (int d = 0; d < o.value_dim; ++d) {
          const float opposite = (j % 2 != 0 ? -1.0f : 1.0f) * static_cast<float>(1 + d % 7);
          value_.set(value_strides_.at(b, h, row) + d, o.cancelling ? opposite : normal(random) + 0.3f);
        }
      }
    }
  }
}

void AttentionCase::fill_mask(std::mt19937& random) {
  const CaseOptions& o = options_;
  constexpr DType kTypes[] = {DType::kBool, DType::kBool, DType::kFloat32, DType::kFloat16, DType::kBFloat16};
  const int sizes[4] = {o.batch, o.query_heads, o.query_length, o.kv_length};
  int64_t count = 1;
  for (int axis = 3; axis >= 0; --axis) {
    if ((o.mask_broadcast >> axis & 1) != 0) continue;
    mask_strides_[axis] = count;
    count *= sizes[axis];
  }
  mask_ = GuardedArray(kTypes[o.mask_kind], count);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < count; ++i) {
    const bool drop = random() % 4 == 0;
    mask_.set(i, o.mask_kind == kMaskBool ? (drop ? 0.0f : 1.0f) : drop ? -INFINITY : normal(random));
  }
}

int AttentionCase::length_of(int b) const { return static_cast<int>(lengths_.get(b)); }

int64_t AttentionCase::physical_row(int b, int j) const {
  return (static_cast<int64_t>(ring_starts_.get(b)) + j) % options_.kv_capacity;
}

bool AttentionCase::is_masked_out(int b, int h, int i, int j, float* bias) const {
  *bias = 0.0f;
  if (options_.mask_kind == kMaskNone) return false;
  const int64_t at =
      b * mask_strides_[0] + h * mask_strides_[1] + i * mask_strides_[2] + j * mask_strides_[3];
  if (options_.mask_kind == kMaskBool) return mask_.get(at) == 0.0f;
  *bias = mask_.get(at);
  return false;
}

template <class Real>
void AttentionCase::row_by_formula(int b, int h, int i, Real* out, Real* lse) const {
  const CaseOptions& o = options_;
  const int kv_head = h / (o.query_heads / o.kv_heads);
  const int64_t position = int64_t{length_of(b)} - o.query_length + i;
  const float* query = query_floats_.data() + query_strides_.at(b, h, i);
  std::vector<Real> scores;
  std::vector<int> keys;
  for (int j = 0; j < length_of(b); ++j) {
    float bias;
    if (j < position - o.window_left || j > position + o.window_right || is_masked_out(b, h, i, j, &bias))
      continue;
    Real score = 0;
    const float* key = key_floats_.data() + key_strides_.at(b, kv_head, physical_row(b, j));
    for (int d = 0; d < o.head_dim; ++d) score += static_cast<Real>(query[d]) * static_cast<Real>(key[d]);
    score *= static_cast<Real>(make_params().scale);
    if (o.softcap > 0) score = static_cast<Real>(o.softcap) * std::tanh(score / static_cast<Real>(o.softcap));
    if (o.alibi) score -= static_cast<Real>(slopes_.get(h)) * static_cast<Real>(position - j);
    score += static_cast<Real>(bias);
    if (score == -std::numeric_limits<Real>::infinity()) continue;
    scores.push_back(score);
    keys.push_back(j);
  }
  std::fill(out, out + o.value_dim, Real{0});
  *lse = -std::numeric_limits<Real>::infinity();
  if (keys.empty()) return;
  Real top = *std::max_element(scores.begin(), scores.end());
  Real visible_sum = 0;
  for (size_t k = 0; k < keys.size(); ++k) {
    const Real weight = std::exp(scores[k] - top);
    visible_sum += weight;
    const float* value = value_floats_.data() + value_strides_.at(b, kv_head, physical_row(b, keys[k]));
    for (int d = 0; d < o.value_dim; ++d) out[d] += weight * static_cast<Real>(value[d]);
  }
  *lse = top + std::log(visible_sum);
  const Real sink = o.sinks ? std::exp(static_cast<Real>(sinks_.get(h)) - top) : Real{0};
  for (int d = 0; d < o.value_dim; ++d) out[d] /= visible_sum + sink;
}

template <class Real>
Answer AttentionCase::by_formula() const {
  const CaseOptions& o = options_;
  Answer answer;
  std::vector<Real> out(static_cast<size_t>(o.value_dim));
  for (int b = 0; b < o.batch; ++b) {
    for (int h = 0; h < o.query_heads; ++h) {
      for (int i = 0; i < o.query_length; ++i) {
        Real lse;
        row_by_formula(b, h, i, out.data(), &lse);
        answer.out.insert(answer.out.end(), out.begin(), out.end());
        answer.lse.push_back(static_cast<double>(lse));
      }
    }
  }
  return answer;
}
template Answer AttentionCase::by_formula<double>() const;

Answer AttentionCase::plain_float() const {
  Answer answer = by_formula<float>();
  GuardedArray rounded(options_.out_dtype, 1);
  for (double& x : answer.out) {
    rounded.set(0, static_cast<float>(x));
    x = static_cast<double>(rounded.get(0));
  }
  return answer;
}

AttentionParams AttentionCase::make_params() const {
  const CaseOptions& o = options_;
  AttentionParams params{};
  params.batch = o.batch;
  params.query_heads = o.query_heads;
  params.kv_heads = o.kv_heads;
  params.query_length = o.query_length;
  params.kv_length = o.kv_length;
  params.kv_capacity = o.kv_capacity;
  params.ring_start = static_cast<int>(ring_starts_.get(0));
  params.head_dim = o.head_dim;
  params.value_dim = o.value_dim;
  params.window_left = o.window_left;
  params.window_right = o.window_right;
  params.splits = 1;
  params.keys_per_split = o.kv_capacity;
  params.scale = 1.0f / std::sqrt(static_cast<float>(o.head_dim));
  params.softcap = o.softcap;
  const auto copy = [](metalhead_long(&to)[3], const Strides& from) {
    to[0] = from.batch;
    to[1] = from.head;
    to[2] = from.row;
  };
  copy(params.query_strides, query_strides_);
  copy(params.key_strides, key_strides_);
  copy(params.value_strides, value_strides_);
  copy(params.out_strides, out_strides_);
  std::copy(std::begin(mask_strides_), std::end(mask_strides_), params.mask_strides);
  return params;
}

Launch AttentionCase::make_launch(const char* kernel, AttentionParams params) {
  const CaseOptions& o = options_;
  Launch launch;
  launch.kernel = kernel;
  for (DType dtype : {o.query_dtype, o.kv_dtype, o.kv_dtype, o.out_dtype}) launch.add_dtype(dtype);
  launch.constants.set_uint(kConstantMaskKind, o.mask_kind);
  launch.constants.set_bool(kConstantHasSoftcap, o.softcap > 0.0f);
  launch.constants.set_bool(kConstantHasAlibi, o.alibi);
  launch.constants.set_bool(kConstantHasSinks, o.sinks);
  launch.constants.set_bool(kConstantHasKvLengths, o.ragged);
  launch.constants.set_bool(kConstantHasRing, o.ring);
  launch.constants.set_bool(kConstantHasLse, o.lse);
  query_.bind(launch, kSlotQuery, Access::kRead);
  key_.bind(launch, kSlotKey, Access::kRead);
  value_.bind(launch, kSlotValue, Access::kRead);
  out_.bind(launch, kSlotOut, Access::kWrite);
  if (o.lse) lse_.bind(launch, kSlotLse, Access::kWrite);
  if (o.mask_kind != kMaskNone) mask_.bind(launch, kSlotMask, Access::kRead);
  if (o.alibi) slopes_.bind(launch, kSlotAlibiSlopes, Access::kRead);
  if (o.sinks) sinks_.bind(launch, kSlotSinks, Access::kRead);
  if (o.ragged) lengths_.bind(launch, kSlotKvLengths, Access::kRead);
  if (o.ring && o.ring_per_sequence) ring_starts_.bind(launch, kSlotRingStarts, Access::kRead);
  launch.set_params(params);
  for (int64_t i = 0; i < out_.count(); ++i) out_.set(i, NAN);
  for (int64_t i = 0; i < lse_.count(); ++i) lse_.set(i, NAN);
  return launch;
}

Answer AttentionCase::take_answer() const {
  const CaseOptions& o = options_;
  Answer answer;
  for (int b = 0; b < o.batch; ++b) {
    for (int h = 0; h < o.query_heads; ++h) {
      for (int i = 0; i < o.query_length; ++i) {
        for (int d = 0; d < o.value_dim; ++d) answer.out.push_back(out_.get(out_strides_.at(b, h, i) + d));
        answer.lse.push_back(lse_.get((int64_t{b} * o.query_heads + h) * o.query_length + i));
      }
    }
  }
  return answer;
}

Answer AttentionCase::run_sdpa(const cpu::KernelTable& table, int rows_per_group) {
  const CaseOptions& o = options_;
  AttentionParams params = make_params();
  params.rows_per_group = rows_per_group;
  Launch launch = make_launch("sdpa", params);
  const int rows = o.query_heads / o.kv_heads * o.query_length;
  launch.grid = {static_cast<uint32_t>((rows + rows_per_group - 1) / rows_per_group),
                 static_cast<uint32_t>(o.kv_heads), static_cast<uint32_t>(o.batch)};
  run_launch(table, launch);
  return take_answer();
}

Answer AttentionCase::run_flash_attn_vec(const cpu::KernelTable& table, int splits) {
  const CaseOptions& o = options_;
  AttentionParams params = make_params();
  params.splits = splits;
  params.keys_per_split = (o.kv_length + splits - 1) / splits;
  Launch launch = make_launch("flash_attn_vec", params);
  launch.grid = {static_cast<uint32_t>(splits), static_cast<uint32_t>(o.kv_heads),
                 static_cast<uint32_t>(o.batch)};
  if (splits == 1) {
    run_launch(table, launch);
    return take_answer();
  }
  const int64_t rows = int64_t{o.batch} * o.query_heads * o.query_length;
  GuardedArray partial_out(DType::kFloat32, rows * splits * o.value_dim);
  GuardedArray partial_stats(DType::kFloat32, rows * splits * 2);
  for (int64_t i = 0; i < partial_out.count(); ++i) partial_out.set(i, NAN);
  launch.constants.set_bool(kConstantSplitOutput, true);
  partial_out.bind(launch, kSlotPartialOut, Access::kWrite);
  partial_stats.bind(launch, kSlotPartialStats, Access::kWrite);
  run_launch(table, launch);

  Launch reduce = launch;
  reduce.kernel = "flash_attn_vec_reduce";
  reduce.dtype_count = 0;
  reduce.add_dtype(o.out_dtype);
  ReduceParams reduce_params{};
  reduce_params.batch = o.batch;
  reduce_params.query_heads = o.query_heads;
  reduce_params.query_length = o.query_length;
  reduce_params.value_dim = o.value_dim;
  reduce_params.splits = splits;
  std::copy(std::begin(params.out_strides), std::end(params.out_strides), reduce_params.out_strides);
  reduce.set_params(reduce_params);
  reduce.grid = {static_cast<uint32_t>(o.query_length), static_cast<uint32_t>(o.query_heads),
                 static_cast<uint32_t>(o.batch)};
  run_launch(table, reduce);
  return take_answer();
}

void run_launch(const cpu::KernelTable& table, const Launch& launch) {
  const cpu::KernelFunction function = table.find(launch.kernel);
  cpu::Scratch scratch;
  constexpr uint64_t kChunk = 3;
  const uint64_t chunks = (launch.grid.count() + kChunk - 1) / kChunk;
  for (uint64_t c = chunks; c-- > 0;) {
    function(launch, c * kChunk, std::min((c + 1) * kChunk, launch.grid.count()), scratch);
  }
}

}  // namespace metalhead::test
