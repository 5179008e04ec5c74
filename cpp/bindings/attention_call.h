// One attention call from Python: reads the arguments, runs the op, returns results of the caller's kind.
#pragma once

#include "bindings/casters.h"

#include "ops/attention.h"

namespace metalhead::python {

namespace nb = nanobind;

/// The keywords that attention functions have, as Python gave them; invalid where a function has none.
struct AttentionKeywords {
  nb::handle scale, causal, window_size, softcap, mask, alibi_slopes, sinks, kv_lengths, ring_start, out,
      return_lse, device;
  nb::handle splits;
};

/// Keys or values: a dense array, or codes with their norms and format.
struct CacheSide {
  nb::object array;
  nb::object norms;  ///< of a packed side only
  PackedFormat format;
};

/// Runs one call. `max_query_length` 0 means any; `rotated` as in `tq_attention`.
nb::object attend(const char* op, nb::handle query, const CacheSide& key, const CacheSide& value,
                  const AttentionKeywords& keywords, int64_t max_query_length, bool rotated);

/// Makes the functions on dense arrays known to `_core.native`.
void define_attention();

}  // namespace metalhead::python
