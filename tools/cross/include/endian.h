// Linux has this header and NumPy's headers, configured for Linux, include it; macOS keeps the same facts
// elsewhere.
#pragma once

#include <machine/endian.h>
