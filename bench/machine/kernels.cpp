// Multiply-adds a second of each kernel on each instruction set of this CPU, beside the peak of its multiply-add units.
//
//   pip install --no-build-isolation -e .   # compiles the kernels
//   N=etcc_edge/native; O=$(find build -path '*kernels_*' -name '*_kernels.cpp.o')
//   g++ -std=c++20 -O3 -march=native -I$N bench/kernels.cpp $N/kernels.cpp $O -o kernels && ./kernels
//
// Figures are the best of many short runs, so that a busy machine hardly shows.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>

#include "kernels/aligned.hpp"
#include "kernels/kernels.hpp"

namespace {

using etcc::Floats;

template <class Run>
double best_seconds(Run run) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  for (int turn = 0; turn < 400; ++turn) {
    const auto start = Clock::now();
    run();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

void print(const char* set, const char* what, double multiply_adds, double seconds) {
  std::printf("%-8s %-36s %8.2f µs %7.1f GMAC/s\n", set, what, seconds * 1e6, multiply_adds / seconds * 1e-9);
}

typedef float Vec4 __attribute__((vector_size(16)));
typedef float Vec8 __attribute__((vector_size(32)));
typedef float Vec16 __attribute__((vector_size(64)));

// Sums that never leave their registers.
template <class Vec>
void peak() {
  constexpr int lanes = sizeof(Vec) / sizeof(float);
  const Vec factor = Vec{} + 0.999F;
  constexpr int rounds = 4000;
  const double seconds = best_seconds([factor] {
    Vec sum[12] = {};
    for (int i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
      for (int k = 0; k < 12; ++k) {
        sum[k] = sum[k] * factor + factor;
        asm volatile("" : "+x"(sum[k]));
      }
    }
  });
  char name[32];
  std::snprintf(name, sizeof name, "peak, %d bits", lanes * 32);
  print("", name, 12.0 * lanes * rounds, seconds);
}

struct Size {
  const char* what;
  std::size_t flows, rows, step, depth, width, in_stride, pool;
};

constexpr Size sizes[] = {
    {"dense 2368 to 256, 64 flows", 64, 1, 2368, 2368, 256, 2368, 1},
    {"dense 80 to 64, 64 flows", 64, 1, 80, 80, 64, 80, 1},
    {"conv 64 3 on 1 channel, max_pool 2", 64, 38, 1, 3, 64, 41, 2},
    {"conv 128 3 on 64 channels, direct", 64, 17, 64, 192, 128, 19 * 64, 1},
    {"the same, one of Winograd's products", 1, 96, 64, 64, 128, 0, 1},
    {"conv 64 3 on 32, a Winograd product", 1, 208, 32, 32, 64, 0, 1},
};

void measure(const etcc::Kernels& kernels) {
  for (const Size& s : sizes) {
    const Floats in(s.flows * std::max(s.in_stride, s.rows * s.step) + s.depth, 0.5F);
    const Floats weight(s.depth * s.width, 0.1F);
    const Floats bias(s.width);
    Floats out(s.flows * s.rows * s.width);
    const etcc::Product product{in.data(),
                                s.flows,
                                s.in_stride,
                                s.rows,
                                s.step,
                                s.depth,
                                weight.data(),
                                bias.data(),
                                s.width,
                                out.data(),
                                s.rows / s.pool * s.width,
                                s.pool,
                                true,
                                false};
    const double seconds = best_seconds([&] { kernels.multiply(product); });
    const auto multiply_adds = static_cast<double>(s.flows * s.rows * s.depth * s.width);
    print(kernels.name, s.what, multiply_adds, seconds);
    if (!kernels.multiply8 || s.depth % 4 != 0) continue;
    etcc::Aligned<std::uint8_t> codes(in.size());
    Floats scale(std::max(s.flows, s.width), 0.1F);
    if (s.in_stride > 0) {
      const double making = best_seconds([&] {
        kernels.quantize({in.data(), s.flows, s.in_stride, codes.data(), scale.data()});
      });
      std::printf("%-8s   %-34s %8.2f µs\n", kernels.name, "its inputs' 8-bit codes", making * 1e6);
    }
    const etcc::Aligned<std::int8_t> weight8(weight.size(), 13);
    const etcc::Product8 product8{codes.data(),
                                  scale.data(),
                                  s.flows,
                                  s.in_stride,
                                  s.rows,
                                  s.step,
                                  s.depth,
                                  weight8.data(),
                                  scale.data(),
                                  bias.data(),
                                  s.width,
                                  out.data(),
                                  s.rows / s.pool * s.width,
                                  s.pool,
                                  true};
    print(kernels.name, "  in 8 bits", multiply_adds, best_seconds([&] { kernels.multiply8(product8); }));
  }
  constexpr std::size_t flows = 64, depth = 2176, classes = 4;
  const Floats in(flows * depth, 0.1F), weight(classes * depth, 0.1F), bias(classes);
  Floats out(flows * classes);
  const double seconds = best_seconds([&] {
    kernels.dot({in.data(), flows, depth, depth, weight.data(), bias.data(), classes, out.data()});
  });
  print(kernels.name, "dense 2176 to 4, 64 flows", static_cast<double>(flows * depth * classes), seconds);
}

}  // namespace

int main() {
#if defined(__AVX512F__)
  peak<Vec16>();
#endif
#if defined(__AVX__)
  peak<Vec8>();
#else
  peak<Vec4>();
#endif
  for (const auto name : etcc::instruction_sets()) measure(etcc::kernels(name));
}
