// The parts of the Python face, a file each. They check shapes and release the interpreter's lock.
#pragma once

#include <nanobind/nanobind.h>

void bind_rows(nanobind::module_& m);
void bind_networks(nanobind::module_& m);
void bind_meter(nanobind::module_& m);
