// Multiply-adds a second of each kernel on each instruction set of this CPU, beside the peak of its multiply-add units.
//
//   cmake -S . -B build/core -DETCC_PYTHON=OFF -DCMAKE_BUILD_TYPE=Release && cmake --build build/core
//   g++ -std=c++20 -O3 -march=native -Ietcc_edge/native bench/machine/kernels.cpp build/core/libetcc*.a -o kernels
//   ./kernels
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
  std::size_t flows, flow_stride;
  std::size_t positions, position_stride;
  std::size_t depth, width;
  std::size_t pool = 1;
};

constexpr Size sizes[] = {
    {.what = "dense 2368 to 256, 64 flows",
     .flows = 64,
     .flow_stride = 2368,
     .positions = 1,
     .position_stride = 2368,
     .depth = 2368,
     .width = 256},
    {.what = "dense 80 to 64, 64 flows",
     .flows = 64,
     .flow_stride = 80,
     .positions = 1,
     .position_stride = 80,
     .depth = 80,
     .width = 64},
    {.what = "conv 64 3 on 1 channel, max_pool 2",
     .flows = 64,
     .flow_stride = 41,
     .positions = 38,
     .position_stride = 1,
     .depth = 3,
     .width = 64,
     .pool = 2},
    {.what = "conv 128 3 on 64 channels, direct",
     .flows = 64,
     .flow_stride = 19 * 64,
     .positions = 17,
     .position_stride = 64,
     .depth = 192,
     .width = 128},
    {.what = "the same, one of Winograd's products",
     .flows = 1,
     .flow_stride = 0,
     .positions = 96,
     .position_stride = 64,
     .depth = 64,
     .width = 128},
    {.what = "conv 64 3 on 32, a Winograd product",
     .flows = 1,
     .flow_stride = 0,
     .positions = 208,
     .position_stride = 32,
     .depth = 32,
     .width = 64},
};

void measure_product(const etcc::Kernels& kernels, const Size& size) {
  const Floats in(size.flows * std::max(size.flow_stride, size.positions * size.position_stride) + size.depth, 0.5F);
  const Floats weight(size.depth * size.width, 0.1F);
  const Floats bias(size.width);
  Floats out(size.flows * size.positions * size.width);
  const std::size_t out_stride = size.positions / size.pool * size.width;
  const etcc::Product product{.in = in.data(),
                              .flows = size.flows,
                              .flow_stride = size.flow_stride,
                              .positions = size.positions,
                              .position_stride = size.position_stride,
                              .depth = size.depth,
                              .packed = weight.data(),
                              .bias = bias.data(),
                              .width = size.width,
                              .out = out.data(),
                              .out_stride = out_stride,
                              .pool = size.pool,
                              .relu = true};
  const auto multiply_adds = static_cast<double>(size.flows * size.positions * size.depth * size.width);
  print(kernels.name, size.what, multiply_adds, best_seconds([&] { kernels.multiply(product); }));
  if (!kernels.multiply8 || size.depth % 4 != 0) return;

  etcc::Aligned<std::uint8_t> codes(in.size());
  Floats scale(std::max(size.flows, size.width), 0.1F);
  if (size.flow_stride > 0) {
    const etcc::Quantize quantize{
        .in = in.data(), .flows = size.flows, .size = size.flow_stride, .out = codes.data(), .scale = scale.data()};
    const double seconds = best_seconds([&] { kernels.quantize(quantize); });
    std::printf("%-8s   %-34s %8.2f µs\n", kernels.name, "its inputs' 8-bit codes", seconds * 1e6);
  }
  const etcc::Aligned<std::int8_t> codes_of_weight(weight.size(), 13);
  const etcc::Product8 product8{.in = codes.data(),
                                .scale = scale.data(),
                                .flows = size.flows,
                                .flow_stride = size.flow_stride,
                                .positions = size.positions,
                                .position_stride = size.position_stride,
                                .depth = size.depth,
                                .packed = codes_of_weight.data(),
                                .weight_scale = scale.data(),
                                .bias = bias.data(),
                                .width = size.width,
                                .out = out.data(),
                                .out_stride = out_stride,
                                .pool = size.pool,
                                .relu = true};
  print(kernels.name, "  in 8 bits", multiply_adds, best_seconds([&] { kernels.multiply8(product8); }));
}

void measure_dot(const etcc::Kernels& kernels) {
  constexpr std::size_t flows = 64, depth = 2176, classes = 4;
  const Floats in(flows * depth, 0.1F), weight(classes * depth, 0.1F), bias(classes);
  Floats out(flows * classes);
  const etcc::Dot dot{.in = in.data(),
                      .flows = flows,
                      .flow_stride = depth,
                      .depth = depth,
                      .weight = weight.data(),
                      .bias = bias.data(),
                      .classes = classes,
                      .out = out.data()};
  print(kernels.name, "dense 2176 to 4, 64 flows", static_cast<double>(flows * depth * classes),
        best_seconds([&] { kernels.dot(dot); }));
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
  for (const auto name : etcc::instruction_sets()) {
    const etcc::Kernels& kernels = etcc::kernels(name);
    for (const Size& size : sizes) measure_product(kernels, size);
    measure_dot(kernels);
  }
}
