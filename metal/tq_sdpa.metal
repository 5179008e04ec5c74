// tq_sdpa has one instantiation: bits and types are function constants.
#include "tq_sdpa.h"
