// hadamard has one instantiation: the types of input and output are function constants.
#include "hadamard.h"
