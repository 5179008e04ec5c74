#include "ops/tq_attention.h"

#include "core/error.h"
#include "ops/attention_plan.h"
#include "ops/tq_format.h"

namespace metalhead {

void check_packed_sides(const AttentionArguments& a) {
  if (a.key_format.packed())
    check_packed(a.op, "k's", a.key, a.key_norms, a.key_format.bits, a.key_format.dim);
  if (a.value_format.packed()) {
    check_packed(a.op, "v's", a.value, a.value_norms, a.value_format.bits, a.value_format.dim);
  }
  const size_t rows = static_cast<size_t>(a.query.rank - 2);
  if (a.splits > 0 && a.query.rank >= 3 && a.query.shape[rows] > kMaxVecQueryLength) {
    throw ValueError(concat(a.op, ": splits needs a query_length of at most ", kMaxVecQueryLength, ", got ",
                            a.query.shape[rows]));
  }
}

}  // namespace metalhead
