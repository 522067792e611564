// The parts of the Python face that have a file of their own.
#pragma once

#include <nanobind/nanobind.h>

void bind_cascade(nanobind::module_& m);
