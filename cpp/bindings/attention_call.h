// One attention call from Python: reads the arguments, runs the op, returns results of the caller's kind.
#pragma once

#include <nanobind/nanobind.h>

#include "ops/attention.h"

namespace metalhead::python {

namespace nb = nanobind;

/// The keywords that every attention function has, as Python gave them; None where a keyword was left out.
struct AttentionKeywords {
  nb::handle scale, causal, window_size, softcap, mask, alibi_slopes, sinks, kv_lengths, ring_start, out,
      return_lse, device;
  nb::handle splits;
};

/// Keys or values: a dense array, or codes with their norms and format.
struct CacheSide {
  nb::handle array;
  nb::handle norms;  ///< None for a dense side
  PackedFormat format;
};

/// Runs one call. `max_query_length` 0 means any; `rotated` as in `tq_attention`.
nb::object attend(const char* op, nb::handle query, const CacheSide& key, const CacheSide& value,
                  const AttentionKeywords& keywords, int64_t max_query_length, bool rotated);

void bind_attention(nb::module_& module);

}  // namespace metalhead::python
