// tq_flash_attn_vec has one instantiation: bits and types are function constants.
#include "tq_flash_attn_vec.h"
