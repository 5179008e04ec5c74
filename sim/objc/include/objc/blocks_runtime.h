// The name under which clang's gnustep-2.0 support looks for the blocks runtime.
#pragma once

#include <Block.h>
