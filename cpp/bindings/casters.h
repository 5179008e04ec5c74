// The conversions between Python's and the standard library's types, for every file of the bindings alike: a
// cast that one file compiles with them and another without is two functions of one name.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
