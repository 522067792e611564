// Several callers run one cascade, whose pool has several threads, over flows of many lengths; for the thread
// sanitizer. Exit status 0 where each answer is the one that a single thread gives.
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "cascade/cascade.hpp"

namespace {

constexpr std::size_t features = 6;

struct Answer {
  std::vector<std::int32_t> codes;
  std::vector<float> confidence, energy;
};

Answer run(etcc::Cascade& cascade, std::size_t n) {
  std::vector<float> raw(n * features);
  for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = static_cast<float>(i * 2654435761U % 1000) / 1000;
  Answer answer{.codes = std::vector<std::int32_t>(2 * n),
                .confidence = std::vector<float>(2 * n),
                .energy = std::vector<float>(2 * n)};
  cascade.run(raw, answer.codes, answer.confidence, answer.energy);
  return answer;
}

bool same_bytes(const std::vector<float>& a, const std::vector<float>& b) {  // NaN included
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

int main() {
  const std::vector<std::int64_t> sources{0, 1, 2, 3, 4, 5}, starts{0, 2, 4, 6, 8, 10, 12};
  const std::vector<float> ends{0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1};
  const etcc::Scaler scaler(sources, starts, ends, ends, std::vector<float>(features, 0.5F));
  const std::vector<float> kernel(12, 0.3F), kernel_bias{0.1F, 0.2F, 0.3F, 0.4F}, bias(3, 0.1F);
  std::vector<float> weight(48);
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = 0.1F * static_cast<float>(i * 7 % 11) - 0.5F;
  const std::vector<etcc::Layer> layers{{.op = "conv", .size = 4, .width = 3, .weight = kernel, .bias = kernel_bias},
                                        {.op = "relu"},
                                        {.op = "flatten"},
                                        {.op = "dense", .size = 3, .weight = weight, .bias = bias}};
  const auto nodes = [&] {
    std::vector<etcc::Cascade::Node> tree;
    for (const auto& children : {std::vector{1, -1, 2}, std::vector{-1, -1, -1}, std::vector{-1, -1, -1}}) {
      tree.push_back({.network = etcc::Network(&scaler, features, layers, etcc::kernels("")),
                      .temperature = 1.0F,
                      .codes = {0, 1, 2},
                      .children = children});
    }
    return tree;
  };
  etcc::Cascade shared(nodes(), 2, features, 64, 4);
  etcc::Cascade alone(nodes(), 2, features, 1024, 1);
  std::vector<std::thread> callers;
  std::vector<int> right(3, 0);
  callers.reserve(right.size());
  constexpr std::size_t rounds = 30;
  std::vector<Answer> expected;
  expected.reserve(rounds);
  for (std::size_t round = 0; round < rounds; ++round) expected.push_back(run(alone, round * 101 % 900));
  for (std::size_t caller = 0; caller < right.size(); ++caller) {
    callers.emplace_back([&, caller] {
      for (std::size_t round = 0; round < rounds; ++round) {
        const Answer answer = run(shared, round * 101 % 900);
        right[caller] += answer.codes == expected[round].codes &&
                         same_bytes(answer.confidence, expected[round].confidence) &&
                         same_bytes(answer.energy, expected[round].energy);
      }
    });
  }
  for (auto& caller : callers) caller.join();
  for (const int count : right) {
    if (count != static_cast<int>(rounds)) return 1;
  }
  return 0;
}
