// tq_decode has one instantiation: the types of output and norms are function constants.
#include "tq_decode.h"
