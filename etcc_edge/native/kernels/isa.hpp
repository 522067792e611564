// The kernel files of every instruction set, by name.
#pragma once

#include "kernels/kernels.hpp"

namespace etcc {

#define ETCC_DECLARE_ISA(name)                 \
  namespace name {                             \
  void fill_network_kernels(Kernels& kernels); \
  void fill_row_kernels(Kernels& kernels);     \
  void fill_scale_kernels(Kernels& kernels);   \
  void fill_int8_kernels(Kernels& kernels);    \
  }

ETCC_DECLARE_ISA(portable)
#if defined(__x86_64__)
ETCC_DECLARE_ISA(avx2)
ETCC_DECLARE_ISA(avxvnni)
ETCC_DECLARE_ISA(avx512)
ETCC_DECLARE_ISA(avx512vnni)
#elif defined(__aarch64__)
ETCC_DECLARE_ISA(neon)
ETCC_DECLARE_ISA(dotprod)
#endif

#undef ETCC_DECLARE_ISA

}  // namespace etcc
