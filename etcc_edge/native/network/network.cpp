#include "network/network.hpp"

#include <algorithm>
#include <stdexcept>

namespace etcc {
namespace {

constexpr std::size_t max_cached_floats = std::size_t{1} << 16;  // of a block; half as many flows stay in cache

}  // namespace

Network::Network(const Scaler* scaler, std::size_t inputs, std::span<const Layer> layers, const Kernels& kernels,
                 bool int8)
    : inputs_(inputs),
      features_(scaler ? scaler->features() : inputs),
      plan_(build(scaler, inputs, layers, kernels, int8)) {}

void Network::reserve(Workspace& space) const {
  const auto grow = [](auto& values, std::size_t size) {
    if (values.size() < size) values.resize(size);
  };
  grow(space.front, plan_.activations);
  grow(space.back, plan_.activations);
  grow(space.transformed, plan_.transformed);
  grow(space.products, plan_.products);
  grow(space.fraction, plan_.places);
  grow(space.table_row, plan_.places);
  if (plan_.int8_layers == 0) return;
  grow(space.codes, plan_.activations);
  grow(space.scale, flows_per_block);
}

void Network::run(std::span<const float> raw, std::size_t features, std::span<const std::int64_t> index,
                  std::span<float> logits, Workspace& space) const {
  if (features < features_) throw std::invalid_argument("the rows have fewer features than the network reads");
  if (logits.size() != index.size() * classes()) throw std::invalid_argument("logits of the wrong size");
  const std::size_t rows = raw.size() / features;
  if (!std::all_of(index.begin(), index.end(), [=](std::int64_t i) { return static_cast<std::size_t>(i) < rows; })) {
    throw std::out_of_range("row index outside the batch");
  }
  const std::size_t max_flows = plan_.activations > max_cached_floats ? flows_per_block / 2 : flows_per_block;
  for (std::size_t first = 0; first < index.size(); first += max_flows) {
    Block block{.raw = raw.data(),
                .features = features,
                .index = index.data() + first,
                .flows = std::min(max_flows, index.size() - first),
                .logits = logits.data() + first * classes(),
                .space = space};
    for (const auto& step : plan_.steps) step->run(block);
  }
}

}  // namespace etcc
