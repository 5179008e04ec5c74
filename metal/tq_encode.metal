// tq_encode has one instantiation: bits, norm kind, search and the types of input and norms are function
// constants.
#include "tq_encode.h"
