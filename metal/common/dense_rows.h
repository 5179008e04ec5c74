// Streams dense keys and values from device memory into 8x8 matrices, 16 bytes a lane where rows allow it.
#pragma once

#include "common/arithmetic.h"

/// Two neighbouring elements as the 32-bit words that hold them.
template <typename T>
struct PairWords {
  static constant constexpr int kWords = 1;
  static METAL_FUNC vec<T, 2> pair(thread const uint* words) { return as_type<vec<T, 2>>(words[0]); }
  static METAL_FUNC void set(thread uint* words, T a, T b) { words[0] = as_type<uint>(vec<T, 2>(a, b)); }
};
template <>
struct PairWords<float> {
  static constant constexpr int kWords = 2;
  static METAL_FUNC float2 pair(thread const uint* words) {
    return as_type<float2>(uint2(words[0], words[1]));
  }
  static METAL_FUNC void set(thread uint* words, float a, float b) {
    words[0] = as_type<uint>(a);
    words[1] = as_type<uint>(b);
  }
};

/// COUNT neighbouring elements of one row: 8 or 16 bytes.
template <typename T, int COUNT>
struct DenseRun {
  static constant constexpr int kWords = COUNT / 2 * PairWords<T>::kWords;
  uint words[kWords];

  METAL_FUNC vec<T, 2> pair(int t) const thread {
    return PairWords<T>::pair(words + t * PairWords<T>::kWords);
  }

  /// Elements [first, first + COUNT) of the row; 0 at or past `dim`, and everywhere if the row is not
  /// `present`.
  METAL_FUNC void load(device const T* row, int first, int dim, bool present, bool wide) thread {
    if (wide) {
      load_words(row + first, present && first < dim);
      return;
    }
    METALHEAD_UNROLL for (int t = 0; t < COUNT / 2; ++t) {
      const int at = first + 2 * t;
      const T a = present && at < dim ? row[at] : T(0.0f);
      const T b = present && at + 1 < dim ? row[at + 1] : T(0.0f);
      PairWords<T>::set(words + t * PairWords<T>::kWords, a, b);
    }
  }

  METAL_FUNC void load_words(device const T* from, bool present) thread {
    METALHEAD_UNROLL for (int w = 0; w < kWords; ++w) words[w] = 0;
    if (!present) return;
    if (kWords == 4) {
      const uint4 loaded = *(device const uint4*)from;
      METALHEAD_UNROLL for (int w = 0; w < kWords; ++w) words[w] = loaded[w & 3];
    } else {
      const uint2 loaded = *(device const uint2*)from;
      METALHEAD_UNROLL for (int w = 0; w < kWords; ++w) words[w] = loaded[w & 1];
    }
  }
};

/// Rows of one head of a dense K or V. COUNT is what a lane takes of a row at a time.
template <typename T, int COUNT>
struct DenseRows {
  typedef T Element;
  typedef DenseRun<T, COUNT> Run;
  static constant constexpr int kCount = COUNT;
  static constant constexpr bool kHasNorms = false;

  device const T* rows;  ///< of the head
  long stride;
  int dim;
  bool wide;  ///< every row starts at a multiple of 16 bytes and its length is one

  METAL_FUNC int count() const thread { return COUNT; }
  METAL_FUNC void load(thread Run& run, int row, int first, bool present) const thread {
    run.load(rows + long(row) * stride, first, dim, present, wide);
  }
  METAL_FUNC vec<T, 2> pair(thread const Run& run, int t) const thread { return run.pair(t); }
  METAL_FUNC float norm(int row) const thread { return 1.0f; }
};
