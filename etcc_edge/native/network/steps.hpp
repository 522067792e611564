// The steps that networks are made of.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "kernels/aligned.hpp"
#include "kernels/kernels.hpp"
#include "network/maps.hpp"
#include "network/scaler.hpp"
#include "network/step.hpp"

namespace etcc {

// Values of a flow: position after position, each `stride` floats of which the first `channels` count; the rest
// are zero.
struct Shape {
  std::size_t channels, positions, stride;
  std::size_t floats() const { return positions * stride; }
};

// ---- From the block's raw rows to `front`.

class CopyRows : public Step {
 public:
  explicit CopyRows(std::size_t inputs) : inputs_(inputs) {}
  void run(Block& block) const override;

 private:
  std::size_t inputs_;
};

class ScaleRows : public Step {
 public:
  ScaleRows(const Scaler& scaler, const Kernels& kernels) : maps_(scaler), kernels_(kernels) {}
  void run(Block& block) const override;

 private:
  Maps maps_;
  const Kernels& kernels_;
};

// Scaler, tents and a convolution as wide as its input, by a table.
class LookUpRows : public Step {
 public:
  // `weight` is [channels][bins + 1][inputs]; the bias has a float for each channel and zeros up to the stride.
  LookUpRows(const Scaler& scaler, std::size_t bins, std::span<const float> weight, std::size_t channels, Floats bias,
             bool relu, const Kernels& kernels);
  void run(Block& block) const override;

  std::size_t columns() const { return table_.columns().size(); }

 private:
  TentTable table_;
  Floats bias_;
  float bins_;
  bool relu_;
  const Kernels& kernels_;
};

// ---- From `front` to `front`.

class ExpandTents : public Step {
 public:
  ExpandTents(std::size_t bins, std::size_t positions, std::size_t in_stride, std::size_t out_stride)
      : bins_(bins), positions_(positions), in_stride_(in_stride), out_stride_(out_stride) {}
  void run(Block& block) const override;

 private:
  std::size_t bins_, positions_, in_stride_, out_stride_;
};

class Relu : public Step {
 public:
  explicit Relu(std::size_t floats) : floats_(floats) {}
  void run(Block& block) const override;

 private:
  std::size_t floats_;
};

class MaxPool : public Step {
 public:
  MaxPool(const Shape& in, std::size_t width) : in_(in), width_(width) {}
  void run(Block& block) const override;

 private:
  Shape in_;
  std::size_t width_;
};

// What a product reads of a flow, see `Product`.
struct Windows {
  std::size_t flow_stride, positions, position_stride, depth;
};

// What a product does to its sums.
struct Epilogue {
  bool relu = false;
  std::size_t pool = 1;
};

// A convolution or a dense layer.
class Multiply : public Step {
 public:
  // `matrix` is [depth][bias.size()].
  Multiply(const Floats& matrix, Floats bias, const Windows& windows, const Epilogue& after, const Kernels& kernels);
  void run(Block& block) const override;

 private:
  Floats packed_, bias_;
  Product product_;
  const Kernels& kernels_;
};

// The same in 8-bit codes: weights by a scale for each column, a flow's activations by one scale.
class Multiply8 : public Step {
 public:
  // Whether 8 bits can hold a matrix [depth][columns], and multiplying it at so many positions pays for making the
  // codes.
  static bool fits(const Floats& matrix, std::size_t depth, std::size_t positions);

  // `matrix` is [depth][bias.size()], finite.
  Multiply8(const Floats& matrix, Floats bias, const Windows& windows, const Epilogue& after, const Kernels& kernels);
  void run(Block& block) const override;

 private:
  Aligned<std::int8_t> packed_;
  Floats scale_, bias_;
  Product8 product_;
  const Kernels& kernels_;
};

// A convolution with three taps in Winograd's form F(3, 3): five products for three outputs, not nine.
class Winograd : public Step {
 public:
  static constexpr std::size_t min_channels = 16;  // with fewer, the transforms cost more than they save

  // `matrix` is [3][in.stride][bias.size()].
  Winograd(const Floats& matrix, Floats bias, const Shape& in, const Epilogue& after, const Kernels& kernels);
  void run(Block& block) const override;

  // Floats of the two intermediate results.
  std::size_t transformed() const { return planes * flows_per_transform * tiles() * in_.stride; }
  std::size_t products() const { return planes * flows_per_transform * tiles() * width_; }

 private:
  static constexpr std::size_t planes = 5;
  static constexpr std::size_t flows_per_transform = 16;  // whose transforms lie side by side, and stay in cache

  std::size_t outputs() const { return in_.positions - 2; }
  std::size_t tiles() const { return (outputs() + 2) / 3; }

  Shape in_;
  std::size_t width_;
  std::array<Floats, planes> packed_;
  Floats bias_, zero_;
  Epilogue after_;
  const Kernels& kernels_;
};

// ---- From `front` to the logits.

// A dense layer with few outputs.
class FewClasses : public Step {
 public:
  static constexpr std::size_t max_classes = 16;

  // `weight` is [classes][depth].
  FewClasses(Floats weight, Floats bias, std::size_t depth, const Kernels& kernels)
      : weight_(std::move(weight)), bias_(std::move(bias)), depth_(depth), kernels_(kernels) {}
  void run(Block& block) const override;

 private:
  Floats weight_, bias_;
  std::size_t depth_;
  const Kernels& kernels_;
};

class Flatten : public Step {
 public:
  explicit Flatten(const Shape& in) : in_(in) {}
  void run(Block& block) const override;

 private:
  Shape in_;
};

}  // namespace etcc
