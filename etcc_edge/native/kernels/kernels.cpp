#include "kernels/kernels.hpp"

#include <initializer_list>
#include <stdexcept>
#include <string>

#include "kernels/isa.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace etcc {
namespace {

#if defined(__x86_64__)
// Not every compiler's __builtin_cpu_supports knows it.
bool has_avxvnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 4U & 1U) != 0;
}
#elif defined(__aarch64__)
bool has_dotprod() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & (1UL << 20U)) != 0;  // HWCAP_ASIMDDP
#else
  return true;  // as on every Apple processor of this architecture
#endif
}
#endif

struct InstructionSet {
  Kernels kernels;
  bool usable;
};

#define ETCC_COMMON_KERNELS(name) name::fill_network_kernels, name::fill_row_kernels, name::fill_scale_kernels

InstructionSet make(const char* name, bool usable, std::initializer_list<void (*)(Kernels&)> fill) {
  InstructionSet set{.kernels = {}, .usable = usable};
  set.kernels.name = name;
  for (const auto part : fill) part(set.kernels);
  return set;
}

// The fastest first.
const std::vector<InstructionSet>& all() {
  static const std::vector<InstructionSet> sets = [] {
    std::vector<InstructionSet> table;
#if defined(__x86_64__)
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    const bool has_avx512vnni = has_avx512 && __builtin_cpu_supports("avx512vnni");
    table.push_back(make("avx512vnni", has_avx512vnni, {ETCC_COMMON_KERNELS(avx512), avx512vnni::fill_int8_kernels}));
    table.push_back(make("avx512", has_avx512, {ETCC_COMMON_KERNELS(avx512), avx512::fill_int8_kernels}));
    table.push_back(
        make("avxvnni", has_avx2 && has_avxvnni(), {ETCC_COMMON_KERNELS(avx2), avxvnni::fill_int8_kernels}));
    table.push_back(make("avx2", has_avx2, {ETCC_COMMON_KERNELS(avx2), avx2::fill_int8_kernels}));
#elif defined(__aarch64__)
    table.push_back(make("dotprod", has_dotprod(), {ETCC_COMMON_KERNELS(neon), dotprod::fill_int8_kernels}));
    table.push_back(make("neon", true, {ETCC_COMMON_KERNELS(neon)}));
#endif
    table.push_back(make("portable", true, {ETCC_COMMON_KERNELS(portable)}));
    return table;
  }();
  return sets;
}

#undef ETCC_COMMON_KERNELS

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
  throw std::invalid_argument("this CPU has no instruction set '" + std::string(instruction_set) + "'; it has " +
                              names);
}

}  // namespace etcc
