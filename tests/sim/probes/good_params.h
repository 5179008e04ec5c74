// A params struct as shader and host share it: plain C.
#pragma once
#ifndef __METAL_VERSION__
#include <stdint.h>
#endif

struct GoodParams {
  uint32_t length;
  float scale;
};
static_assert(sizeof(struct GoodParams) == 8, "size of GoodParams");
