// What the attention kernels need to know about one call; shared by shaders and host.
#pragma once

#include "types.h"

/// An unbounded side of the window; also the largest length.
#define METALHEAD_MAX_LENGTH 0x3fffffff

/// Strides count elements (bytes for packed codes): batch, head, row. Offsets computed from them are 64-bit.
struct AttentionParams {
  metalhead_int batch;
  metalhead_int query_heads;
  metalhead_int kv_heads;
  metalhead_int query_length;
  metalhead_int kv_length;    ///< of every sequence, unless lengths are bound
  metalhead_int kv_capacity;  ///< physical rows; the ring wraps here
  metalhead_int ring_start;   ///< physical row of the oldest key, unless ring starts are bound
  metalhead_int head_dim;
  metalhead_int value_dim;
  metalhead_int window_left;   ///< keys j >= p - window_left are visible
  metalhead_int window_right;  ///< keys j <= p + window_right are visible; 0 if causal
  metalhead_int splits;        ///< workers that share the keys of one KV head
  metalhead_int keys_per_split;
  metalhead_int
      rows_per_group;  ///< query rows (of all heads that share a KV head) a threadgroup of `sdpa` takes
  float scale;
  float softcap;
  metalhead_long query_strides[3];
  metalhead_long key_strides[3];
  metalhead_long value_strides[3];
  metalhead_long out_strides[3];
  metalhead_long mask_strides[4];  ///< batch, query head, query row, key; 0 where the mask broadcasts
  metalhead_long key_norm_strides[3];
  metalhead_long value_norm_strides[3];
  metalhead_uint key_signs[16];  ///< bit j set: coordinate j is negated before the Walsh-Hadamard transform
  metalhead_uint value_signs[16];
};

METALHEAD_STATIC_ASSERT(sizeof(AttentionParams) == 16 * 4 + 22 * 8 + 32 * 4);

/// Joins partial results of `splits` workers: out [B, Hq, Lq, Dv] from partial_out [B, Hq, Lq, splits, Dv]
/// (float32, not normalised) and partial_stats [B, Hq, Lq, splits, 2] (maximum, sum).
struct ReduceParams {
  metalhead_int batch;
  metalhead_int query_heads;
  metalhead_int query_length;
  metalhead_int value_dim;
  metalhead_int splits;
  metalhead_int split;  ///< `store_partial` only: the slot that is written
  metalhead_long out_strides[3];
  metalhead_uint value_signs[16];
};

METALHEAD_STATIC_ASSERT(sizeof(ReduceParams) == 6 * 4 + 3 * 8 + 16 * 4);
