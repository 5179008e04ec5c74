// The instantiations of sdpa: by the type of K and V. The types of Q and of the output are function
// constants.
#include "sdpa.h"

#define INSTANTIATE(name, type) \
  template [[host_name("sdpa_" name)]] [[kernel]] decltype(sdpa<type>) sdpa<type>;

INSTANTIATE("float32", float)
INSTANTIATE("float16", half)
INSTANTIATE("bfloat16", bfloat)
