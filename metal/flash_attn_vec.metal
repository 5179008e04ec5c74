// The instantiations of flash_attn_vec: by the type of K and V. The types of Q and of the output are function
// constants.
#include "flash_attn_vec.h"

#define INSTANTIATE(name, type) \
  template                      \
      [[host_name("flash_attn_vec_" name)]] [[kernel]] decltype(flash_attn_vec<type>) flash_attn_vec<type>;

INSTANTIATE("float32", float)
INSTANTIATE("float16", half)
INSTANTIATE("bfloat16", bfloat)
