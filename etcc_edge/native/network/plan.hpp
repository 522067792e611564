// From a network's layers to the steps that run it.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/kernels.hpp"
#include "network/scaler.hpp"
#include "network/step.hpp"

namespace etcc {

// A layer as etcc_edge/bundle/network.py defines it, its weights as PyTorch shapes them.
struct Layer {
  std::string op;
  std::size_t size = 0;
  std::size_t width = 0;
  std::span<const float> weight = {};
  std::span<const float> bias = {};
};

struct Plan {
  std::vector<std::unique_ptr<Step>> steps;
  std::size_t classes = 0;
  std::size_t int8_layers = 0;

  // Of the workspace, for a block.
  std::size_t activations = 0;  // floats of `front` and of `back`
  std::size_t transformed = 0, products = 0;
  std::size_t places = 0;  // in tables
};

// Steps that do as many layers as one pass over the data can; they copy the weights. Without scaler, rows are scaled
// inputs. With `int8`, layers that gain from it multiply 8-bit codes. Throws std::invalid_argument for a layer that is
// unknown or does not fit.
Plan build(const Scaler* scaler, std::size_t inputs, std::span<const Layer> layers, const Kernels& kernels, bool int8);

}  // namespace etcc
