// A network of a bundle, from raw features or scaled inputs to logits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/kernels.hpp"
#include "network/plan.hpp"
#include "network/scaler.hpp"
#include "network/step.hpp"

namespace etcc {

class Network {
 public:
  // Throws std::invalid_argument for a layer that is unknown or does not fit. Without scaler, rows are scaled inputs.
  // With `int8`, layers that gain from it multiply 8-bit codes; there may be none.
  Network(const Scaler* scaler, std::size_t inputs, std::span<const Layer> layers, const Kernels& kernels,
          bool int8 = false);
  Network(Network&&) = default;

  std::size_t inputs() const { return inputs_; }
  std::size_t classes() const { return plan_.classes; }
  std::size_t features() const { return features_; }  // that a row must have at least
  std::size_t int8_layers() const { return plan_.int8_layers; }
  void reserve(Workspace& space) const;

  // Logits [index.size()][classes] of the rows `index` of `raw`, row-major and `features` wide. Throws
  // std::invalid_argument where sizes do not fit, std::out_of_range for a row outside `raw`.
  void run(std::span<const float> raw, std::size_t features, std::span<const std::int64_t> index,
           std::span<float> logits, Workspace& space) const;

 private:
  std::size_t inputs_, features_;
  Plan plan_;
};

}  // namespace etcc
