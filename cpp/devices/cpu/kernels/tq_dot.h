// Products of a few query rows with packed keys that are streamed from memory once; what stream_rows.h is to
// dense rows. Coordinates are in the order of tq_fields.h.
#pragma once

#include <cstdint>

#include "devices/cpu/kernels/stream_rows.h"
#include "devices/cpu/kernels/tq_joined_fields.h"

namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE {

/// Query rows in the order of fields, with repeated halves, as interleave_rows lays them out, and what their
/// products with each key are multiplied by; readable up to the end of a register tile.
struct PackedQuery {
  const float* rows;
  int dim;
  const float* factors;
};

/// Vectors of keys whose codes are held in registers together.
constexpr int kPackedVectors = 4;

/// The key that stands in half `half` of vector `vector` of a tile of `vectors`.
constexpr int key_of(int vectors, int vector, int half) {
  if (kRowsOfVector == 1) return vector;
  const int run = vectors < 4 ? vectors : 4;
  return vector / run * 2 * run + half * run + vector % run;
}

/// sums[r * kSumStride + v] = sums of query row r times the levels of vector v of keys, lane by lane.
/// `keys` are the codes of each vector's keys.
template <int kBits, int kParts, int kRows, int kVectors, int kSumStride>
METALHEAD_INLINE void dot_packed_vectors(const typename CodeFields<kBits, kParts>::Table& table,
                                         const PackedQuery& query, const CodeRows* keys, F32* sums,
                                         SpreadFetch& ahead) {
  using Fields = CodeFields<kBits, kParts, CodeRows>;
  F32 acc[kRows][kVectors];
  METALHEAD_UNROLL
  for (int i = 0; i < kRows * kVectors; ++i) acc[i / kVectors][i % kVectors] = zero();
  constexpr int kBlockFloats = kLanes * kRowsOfVector * kParts * kRows;
  const float* rows = query.rows;
  for (int block = 0; block < query.dim; block += kLanes * kParts, rows += kBlockFloats) {
    METALHEAD_UNROLL
    for (int half = 0; half < kRowsOfVector; ++half) {
      Fields fields[kVectors];
      METALHEAD_UNROLL
      for (int v = 0; v < kVectors; ++v) fields[v].load(keys[v], query.dim, block, half);
      for_each_part<0, 1, kParts>([&]<int kPart>() __attribute__((always_inline)) {
        ahead.template next<1>();
        F32 q[kRows];
        METALHEAD_UNROLL
        for (int r = 0; r < kRows; ++r)
          q[r] = load(rows + ((kPart * kRowsOfVector + half) * kRows + r) * kLanes);
        METALHEAD_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          const F32 level = fields[v].template level<kPart>(table);
          METALHEAD_UNROLL
          for (int r = 0; r < kRows; ++r) acc[r][v] = fma(q[r], level, acc[r][v]);
        }
      });
    }
  }
  METALHEAD_UNROLL
  for (int i = 0; i < kRows * kVectors; ++i)
    sums[i / kVectors * kSumStride + i % kVectors] = acc[i / kVectors][i % kVectors];
}

/// dots[r * (keys of the tile) + j] = factors[j] * that sum, for the sums of a tile of kStreamSums vectors,
/// kTileVectors for each row.
template <int kTileVectors>
METALHEAD_INLINE void store_dots(const F32 (&sums)[kStreamSums], const float* factors, float* dots) {
  constexpr int kTileKeys = kTileVectors * kRowsOfVector;
  const auto factor = [&](int i) __attribute__((always_inline)) {
    if constexpr (kTileKeys < kLanes) return load_repeated<kTileKeys>(factors);
    return load(factors + i % kTileKeys);
  };
#if defined(__AVX512F__)
  F32 halves[2];
  reduce_add_halves(sums, halves);
  // Two vectors a row: four sums are two rows' low halves, the next four their high ones.
  static_assert(kTileVectors == 2 || kTileVectors % 4 == 0);
  if constexpr (kTileVectors == 2)
    for (F32& half : halves) half.v = _mm512_castpd_ps(_mm512_permutex_pd(_mm512_castps_pd(half.v), 0xd8));
  for (int i = 0; i < 2; ++i) store(dots + i * kLanes, halves[i] * factor(i * kLanes));
#else
  store_lane_sums(sums, factor, dots);
#endif
}

/// scores[r * score_stride + j] = factors[j] * (query row r . levels of key j); writes up to the next
/// multiple of 16 keys. Fetches `ahead`, rows of `ahead_bytes`, while it goes. Aligned, as the unrolled code
/// barely fits what processors hold of decoded instructions.
template <int kBits, int kParts, int kRows>
inline __attribute__((noinline, aligned(64))) void dot_packed_rows(const PackedQuery& query,
                                                                   const StoredRows& keys, float* scores,
                                                                   int64_t score_stride,
                                                                   const StoredRows& ahead,
                                                                   int64_t ahead_bytes) {
  constexpr int kTileVectors = kStreamSums / kRows, kTileKeys = kTileVectors * kRowsOfVector;
  constexpr int kVectors = kTileVectors < kPackedVectors ? kTileVectors : kPackedVectors;
  const typename CodeFields<kBits, kParts>::Table table;
  constexpr int kVectorKeys = kVectors * kRowsOfVector;
  const int64_t requests = query.dim / kLanes * kRowsOfVector * round_up(keys.count, kTileKeys) / kVectorKeys;
  SpreadFetch fetch = spread_fetch<1>(ahead, ahead_bytes, requests);
  for (int first = 0; first < keys.count; first += kTileKeys) {
    const char* tile = keys.data + first * keys.stride;
    const int last = keys.count - 1 - first;
    const auto codes_of = [&](int key) __attribute__((always_inline)) {
      return reinterpret_cast<const uint8_t*>(tile + (key < last ? key : last) * keys.stride);
    };
    F32 sums[kStreamSums];
    METALHEAD_UNROLL
    for (int v = 0; v < kTileVectors; v += kVectors) {
      CodeRows vectors[kVectors];
      METALHEAD_UNROLL
      for (int i = 0; i < kVectors; ++i)
        vectors[i] =
            code_rows(codes_of(key_of(kTileVectors, v + i, 0)), codes_of(key_of(kTileVectors, v + i, 1)));
      dot_packed_vectors<kBits, kParts, kRows, kVectors, kTileVectors>(table, query, vectors, sums + v,
                                                                       fetch);
    }
    alignas(64) float dots[kStreamSums * kRowsOfVector];
    store_dots<kTileVectors>(sums, query.factors + first, dots);
    constexpr int kCopied = kTileKeys < 16 ? kTileKeys : 16;
    METALHEAD_UNROLL
    for (int j = 0; j < kTileKeys; j += kCopied) {
      if (j > last) break;
      METALHEAD_UNROLL
      for (int r = 0; r < kRows; ++r)
        __builtin_memcpy(scores + r * score_stride + first + j, dots + r * kTileKeys + j,
                         kCopied * sizeof(float));
    }
  }
}

}  // namespace metalhead::cpu::METALHEAD_ISA_NAMESPACE
