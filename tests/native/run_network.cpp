// Runs one network on one instruction set, away from Python: for processors that are emulated, and for sanitizers.
//
//   run_network INSTRUCTION_SET INPUTS FLOWS scaler|scaled fp32|int8 LAYER…  < weights and flows  > logits
//
// A layer is op:size:width:weights:biases. Floats are raw float32: each layer's weights and biases, then the flows.
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/kernels.hpp"
#include "network/network.hpp"
#include "network/scaler.hpp"

namespace {

std::vector<float> read_floats(std::size_t n) {
  std::vector<float> values(n);
  if (std::fread(values.data(), sizeof(float), n, stdin) != n) std::exit(2);
  return values;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  const std::size_t inputs = std::stoul(argv[2]);
  const std::size_t flows = std::stoul(argv[3]);
  std::vector<std::vector<float>> weights;
  std::vector<etcc::Layer> layers;
  for (int i = 6; i < argc; ++i) {
    std::istringstream text(argv[i]);
    std::string op, size, width, weight, bias;
    for (auto* part : {&op, &size, &width, &weight, &bias}) std::getline(text, *part, ':');
    weights.push_back(read_floats(std::stoul(weight)));
    const std::span<const float> own_weight = weights.back();
    weights.push_back(read_floats(std::stoul(bias)));
    layers.push_back(
        {.op = op, .size = std::stoul(size), .width = std::stoul(width), .weight = own_weight, .bias = weights.back()});
  }
  // From 0 and 1 to 0 and 1: scaling that changes nothing.
  std::vector<std::int64_t> sources(inputs), starts(inputs + 1);
  std::iota(sources.begin(), sources.end(), 0);
  for (std::size_t i = 0; i <= inputs; ++i) starts[i] = static_cast<std::int64_t>(2 * i);
  std::vector<float> ends;
  for (std::size_t i = 0; i < inputs; ++i) ends.insert(ends.end(), {0.0F, 1.0F});
  const etcc::Scaler scaler(sources, starts, ends, ends, std::vector<float>(inputs, 0.5F));

  const bool scale = std::string(argv[4]) == "scaler";
  const etcc::Network network(scale ? &scaler : nullptr, inputs, layers, etcc::kernels(argv[1]),
                              std::string(argv[5]) == "int8");
  etcc::Workspace space;
  network.reserve(space);
  const auto raw = read_floats(flows * inputs);
  std::vector<std::int64_t> rows(flows);
  std::iota(rows.begin(), rows.end(), 0);
  std::vector<float> logits(flows * network.classes());
  network.run(raw, inputs, rows, logits, space);
  std::fwrite(logits.data(), sizeof(float), logits.size(), stdout);
}
