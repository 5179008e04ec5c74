// store_partial has one instantiation: the type of the finished result is a function constant.
#include "store_partial.h"
