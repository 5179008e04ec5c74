// flash_attn_vec_reduce has one instantiation: the type of the output is a function constant.
#include "flash_attn_vec_reduce.h"
