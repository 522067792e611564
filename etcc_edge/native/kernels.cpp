#include "kernels.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "isa.hpp"

namespace etcc {
namespace {

struct InstructionSet {
  Kernels kernels;
  bool usable;
};

template <class FillNetwork, class FillScale>
InstructionSet make(const char* name, bool usable, FillNetwork fill_network, FillScale fill_scale) {
  InstructionSet made{{}, usable};
  made.kernels.name = name;
  fill_network(made.kernels);
  fill_scale(made.kernels);
  return made;
}

const std::vector<InstructionSet>& all() {
  static const std::vector<InstructionSet> sets = {
#if defined(__x86_64__)
      make("avx512",
           __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("fma"),
           avx512::fill_network_kernels, avx512::fill_scale_kernels),
      make("avx2", __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), avx2::fill_network_kernels,
           avx2::fill_scale_kernels),
#elif defined(__aarch64__)
      make("neon", true, neon::fill_network_kernels, neon::fill_scale_kernels),
#endif
      make("portable", true, portable::fill_network_kernels, portable::fill_scale_kernels),
  };
  return sets;
}

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
