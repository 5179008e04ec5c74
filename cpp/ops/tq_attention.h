// The argument rules that attention over packed keys or values adds to those of dense attention.
#pragma once

#include "ops/attention.h"

namespace metalhead {

/// Checks codes, norms and formats of the packed sides, and what packing forbids; throws ValueError or
/// TypeError.
void check_packed_sides(const AttentionArguments& arguments);

}  // namespace metalhead
