// A network of a bundle, from raw features or scaled inputs to logits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/aligned.hpp"
#include "kernels/kernels.hpp"
#include "network/scaler.hpp"

namespace etcc {

// A layer as etcc_edge/bundle/network.py defines it, its weights as PyTorch shapes them; they are copied.
struct Layer {
  std::string op;
  std::size_t size = 0;
  std::size_t width = 0;
  std::span<const float> weight;
  std::span<const float> bias;
};

// What one thread needs to run networks; `Network::reserve` makes it large enough, and then nothing allocates.
struct Workspace {
  Floats front, back;  // one step's input and output
  Floats transformed, products;
  Floats fraction;
  std::vector<std::int32_t> row;
  Aligned<std::uint8_t> codes;
  std::vector<float> scale;  // of a flow's codes
};

// Rows on their way through a network.
struct Block {
  const float* raw;
  std::size_t features;
  const std::int64_t* index;
  std::size_t flows;
  float* logits;
  Workspace& space;
};

// Reads the block's raw rows or `space.front`; writes `space.front`, by way of `space.back`, or the logits.
class Step {
 public:
  virtual ~Step() = default;
  virtual void run(Block& block) const = 0;
};

class Network {
 public:
  // Throws std::invalid_argument for a layer that is unknown or does not fit. Without scaler, rows are scaled inputs.
  // With `int8`, layers that gain from it multiply 8-bit codes; there may be none.
  Network(const Scaler* scaler, std::size_t inputs, std::span<const Layer> layers, const Kernels& kernels,
          bool int8 = false);
  Network(Network&&) = default;

  std::size_t inputs() const { return inputs_; }
  std::size_t classes() const { return classes_; }
  std::size_t features() const { return features_; }  // that a row must have at least
  std::size_t int8_layers() const { return int8_layers_; }
  void reserve(Workspace& space) const;

  // Logits [n][classes] of the rows `index` of `raw`, row-major and `features` wide.
  void run(const float* raw, std::size_t features, std::span<const std::int64_t> index, float* logits,
           Workspace& space) const;

 private:
  friend class Builder;

  static constexpr std::size_t block = 64;                   // flows at most that go through the steps together
  static constexpr std::size_t many = std::size_t{1} << 16;  // floats of a block; half as many flows stay in cache

  std::size_t inputs_, classes_ = 0, features_ = 0, int8_layers_ = 0;
  std::size_t activation_ = 0, transformed_ = 0, products_ = 0, columns_ = 0;  // floats, of a block
  std::vector<std::unique_ptr<Step>> steps_;
};

}  // namespace etcc
