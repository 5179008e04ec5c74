// Streams packed keys and values: each lane loads the codes of neighbouring coordinates and expands them two
// at a time.
#pragma once

#include "common/levels.h"
#include "common/planes.h"
#include "common/storage.h"

/// Entries of a level table: the most that pairs of 4-bit codes need.
#define METALHEAD_TABLE_PAIRS 256

/// Codes whose levels are looked up in pairs: a pair's index is the bits of its high planes, then of its low
/// planes.
METAL_FUNC bool has_pair_table(uint bits) { return bits <= 4; }

/// The pair of levels at a table's index. 5 and 6 bits: two neighbouring levels; the table is read as single
/// ones.
METAL_FUNC float2 table_pair(uint index, uint bits) {
  if (!has_pair_table(bits)) return float2(level_of(2 * index, bits), level_of(2 * index + 1, bits));
  const uint low = low_width(bits), high = high_width(bits);
  const uint low_mask = (1u << low) - 1u, high_mask = (1u << high) - 1u;
  const uint lows = index & ((1u << (2 * low)) - 1u), highs = index >> (2 * low);
  return float2(level_of(((highs & high_mask) << low) | (lows & low_mask), bits),
                level_of((((highs >> high) & high_mask) << low) | (lows >> low), bits));
}

/// Fills a table with all threads of the threadgroup; a barrier must follow.
METAL_FUNC void fill_table(threadgroup float2* table, uint bits, uint thread_index, uint threads) {
  if (bits == 0 || bits == 8) return;
  const uint entries = has_pair_table(bits) ? 1u << (2 * bits) : 1u << (bits - 1);
  for (uint i = thread_index; i < entries; i += threads) table[i] = table_pair(i, bits);
}

/// `bit_count` bits from `from` on as words; `shift` of them are skipped where the run is shorter than a
/// byte.
METAL_FUNC void load_bits(thread uint* words, device const uchar* from, uint bit_count, uint shift,
                          bool wide) {
  if (bit_count < 32 || !wide) {
    if (bit_count < 8) {
      words[0] = uint(from[0]) >> shift;
      return;
    }
    for (uint byte_index = 0; byte_index < bit_count / 8; ++byte_index) {
      const uint moved = uint(from[byte_index]) << (8 * (byte_index % 4));
      words[byte_index / 4] = byte_index % 4 == 0 ? moved : words[byte_index / 4] | moved;
    }
  } else if (bit_count == 32) {
    words[0] = *(device const uint*)from;
  } else if (bit_count == 64) {
    const uint2 loaded = *(device const uint2*)from;
    words[0] = loaded.x;
    words[1] = loaded.y;
  } else {
    for (uint w = 0; w < bit_count / 32; w += 4) {
      const uint4 loaded = *(device const uint4*)(from + 4 * w);
      METALHEAD_UNROLL for (uint i = 0; i < 4; ++i) words[w + i] = loaded[i];
    }
  }
}

/// Four neighbouring elements of a dense row.
METAL_FUNC float4 load_four(device const uchar* array, long index, uint type) {
  if (type == kTypeFloat16) return float4(*(device const half4*)((device const half*)array + index));
  if (type == kTypeBFloat16) return float4(*(device const bfloat4*)((device const bfloat*)array + index));
  return *(device const float4*)((device const float*)array + index);
}

/// COUNT neighbouring coordinates of one row: planes of codes, or float32 elements of a dense row.
template <int COUNT>
struct PackedRun {
  uint high[COUNT];
  uint low[COUNT < 16 ? 1 : COUNT / 16];
};

/// Rows of one head of K or V, packed or (bits 0) dense. PARTS: lanes that share a row.
template <int COUNT, int PARTS>
struct PackedRows {
  typedef float Element;
  typedef PackedRun<COUNT> Run;
  static constant constexpr int kCount = COUNT;
  static constant constexpr bool kHasNorms = true;

  device const uchar* rows;  ///< of the head
  device const uchar* norms;
  threadgroup const float2* table;
  long stride;  ///< bytes if packed, else elements
  long norm_stride;
  float norm_factor;
  int dim;
  uint bits;
  uint type;  ///< KernelDType of a dense row
  uint norm_type;
  bool wide;

  /// Coordinates that a lane takes at a time: short rows leave nothing for some lanes otherwise.
  METAL_FUNC int count() const thread { return bits == 0 ? COUNT : min(COUNT, dim / PARTS); }

  METAL_FUNC float norm(int row) const thread {
    return bits == 0 ? 1.0f : load_element(norms, long(row) * norm_stride, norm_type) * norm_factor;
  }

  METAL_FUNC void load(thread Run& run, int row, int first, bool present) const thread {
    if (bits == 0) {
      load_dense(run, row, first, present);
      return;
    }
    METALHEAD_UNROLL for (int w = 0; w < COUNT; ++w) run.high[w] = 0;
    METALHEAD_UNROLL for (int w = 0; w < (COUNT < 16 ? 1 : COUNT / 16); ++w) run.low[w] = 0;
    if (!present || first >= dim) return;
    device const uchar* from = rows + long(row) * stride;
    const uint high = high_width(bits), low = low_width(bits), at = uint(first), length = uint(count());
    load_bits(run.high, from + at * high / 8, length * high, at * high % 8, wide);
    if (low != 0)
      load_bits(run.low, from + uint(dim) * high / 8 + at * low / 8, length * low, at * low % 8, wide);
  }

  METAL_FUNC void load_dense(thread Run& run, int row, int first, bool present) const thread {
    const long at = long(row) * stride + first;
    METALHEAD_UNROLL for (int i = 0; i < COUNT; i += 4) {
      float4 four = float4(0.0f);
      if (wide) {
        if (present && first + i < dim) four = load_four(rows, at + i, type);
      } else {
        METALHEAD_UNROLL for (int e = 0; e < 4; ++e) {
          if (present && first + i + e < dim) four[e] = load_element(rows, at + i + e, type);
        }
      }
      METALHEAD_UNROLL for (int e = 0; e < 4; ++e) run.high[i + e] = as_type<uint>(four[e]);
    }
  }

  /// The levels of coordinates 2 t and 2 t + 1.
  METAL_FUNC float2 pair(thread const Run& run, int t) const thread {
    if (bits == 0) return float2(as_type<float>(run.high[2 * t]), as_type<float>(run.high[2 * t + 1]));
    if (bits == 8) {
      const uint both = run.high[t / 2] >> (16 * (t % 2));
      return float2(float(int(both & 255) - 128), float(int((both >> 8) & 255) - 128));
    }
    const uint high = high_width(bits), low = low_width(bits);
    const uint highs =
        high == 4 ? (run.high[t / 4] >> (8 * (t % 4))) & 255 : (run.high[t / 8] >> (4 * (t % 8))) & 15;
    if (low == 0) return table[highs];
    const uint lows =
        low == 1 ? (run.low[t / 16] >> (2 * (t % 16))) & 3 : (run.low[t / 8] >> (4 * (t % 8))) & 15;
    if (has_pair_table(bits)) return table[(highs << 2) | lows];
    threadgroup const float* levels = (threadgroup const float*)table;
    const uint low_mask = (1u << low) - 1u;
    return float2(levels[((highs & 15) << low) | (lows & low_mask)],
                  levels[((highs >> 4) << low) | (lows >> low)]);
  }
};
