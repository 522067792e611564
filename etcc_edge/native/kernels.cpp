#include "kernels.hpp"

#include <initializer_list>
#include <stdexcept>
#include <string>

#include "isa.hpp"

namespace etcc {
namespace {

struct InstructionSet {
  Kernels kernels;
  bool usable;
};

#define ETCC_MAKE(name, usable) \
  make(#name, usable, {name::fill_network_kernels, name::fill_row_kernels, name::fill_scale_kernels})

InstructionSet make(const char* name, bool usable, std::initializer_list<void (*)(Kernels&)> fill) {
  InstructionSet made{{}, usable};
  made.kernels.name = name;
  for (const auto part : fill) part(made.kernels);
  return made;
}

const std::vector<InstructionSet>& all() {
  static const std::vector<InstructionSet> sets = {
#if defined(__x86_64__)
      ETCC_MAKE(avx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                            __builtin_cpu_supports("fma")),
      ETCC_MAKE(avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")),
#elif defined(__aarch64__)
      ETCC_MAKE(neon, true),
#endif
      ETCC_MAKE(portable, true),
  };
  return sets;
}

#undef ETCC_MAKE

}  // namespace

std::vector<std::string_view> instruction_sets() {
  std::vector<std::string_view> names;
  for (const auto& set : all()) {
    if (set.usable) names.emplace_back(set.kernels.name);
  }
  return names;
}

const Kernels& kernels(std::string_view instruction_set) {
  std::string names;
  for (const auto& set : all()) {
    if (!set.usable) continue;
    if (instruction_set.empty() || instruction_set == set.kernels.name) return set.kernels;
    names += (names.empty() ? "" : ", ") + std::string(set.kernels.name);
  }
  throw std::invalid_argument("this CPU has no instruction set '" + std::string(instruction_set) + "'; it has " + names);
}

}  // namespace etcc
