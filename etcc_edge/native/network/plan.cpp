#include "network/plan.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "network/steps.hpp"

namespace etcc {
namespace {

std::size_t round_up(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; }

// The plan so far, and the shape of what it gives.
class Builder {
 public:
  Builder(std::size_t inputs, std::span<const Layer> layers, const Kernels& kernels, bool int8)
      : kernels_(kernels),
        int8_(int8 && kernels.multiply8),
        inputs_(inputs),
        shape_{.channels = 1, .positions = inputs, .stride = 1} {
    for (const Layer& layer : layers) {
      if (layer.op != "dropout") layers_.push_back(layer);
    }
  }

  Plan build(const Scaler* scaler) && {
    if (scaler && can_look_up(*scaler)) {
      look_up(*scaler);
    } else if (scaler) {
      add<ScaleRows>(*scaler, kernels_);
    } else {
      add<CopyRows>(inputs_);
    }
    reserve_shape();
    while (next_ < layers_.size()) add_layer();
    plan_.classes = shape_.channels * shape_.positions;
    if (!has_logits_) add<Flatten>(shape_);
    return std::move(plan_);
  }

 private:
  template <class S, class... Arguments>
  const S& add(Arguments&&... arguments) {
    auto step = std::make_unique<S>(std::forward<Arguments>(arguments)...);
    const S& added = *step;
    plan_.steps.push_back(std::move(step));
    return added;
  }

  void reserve_shape() { plan_.activations = std::max(plan_.activations, flows_per_block * shape_.floats()); }

  bool is(std::size_t i, const char* op) const { return i < layers_.size() && layers_[i].op == op; }

  std::size_t padded(std::size_t channels) const { return round_up(channels, kernels_.lanes); }

  Floats padded_bias(const Layer& layer) const {
    Floats bias(layer.bias.begin(), layer.bias.end());
    bias.resize(padded(layer.size), 0.0F);
    return bias;
  }

  static void check_weights(const Layer& layer, std::size_t weights) {
    if (layer.size == 0 || layer.weight.size() != weights || layer.bias.size() != layer.size) {
      throw std::invalid_argument(layer.op + " has weights of another shape");
    }
  }

  // Whether tents under a convolution as wide as the input come first, and the scaler can be joined with them.
  bool can_look_up(const Scaler& scaler) const {
    return is(0, "tent") && is(1, "conv") && layers_[1].width == inputs_ && layers_[0].size > 0 &&
           TentTable::fits(scaler);
  }

  void look_up(const Scaler& scaler) {
    const std::size_t bins = layers_[0].size;
    const Layer& conv = layers_[1];
    check_weights(conv, conv.size * (bins + 1) * conv.width);
    const bool relu = is(2, "relu");
    const auto& step = add<LookUpRows>(scaler, bins, conv.weight, conv.size, padded_bias(conv), relu, kernels_);
    plan_.places = flows_per_block * step.columns();
    shape_ = {.channels = conv.size, .positions = 1, .stride = padded(conv.size)};
    is_rectified_ = relu;
    next_ = relu ? 3 : 2;
  }

  void add_layer() {
    const Layer& layer = layers_[next_++];
    if (layer.op == "relu") {
      add<Relu>(shape_.floats());
      is_rectified_ = true;
    } else if (layer.op == "tent") {
      expand_tents(layer);
    } else if (layer.op == "max_pool") {
      check_width(layer);
      add<MaxPool>(shape_, layer.width);
      shape_.positions /= layer.width;
    } else if (layer.op == "flatten") {
      if (is_flat_) throw std::invalid_argument("flatten of a flat vector");
      is_flat_ = true;
    } else if (layer.op == "conv") {
      convolve(layer);
    } else if (layer.op == "dense") {
      connect(layer);
    } else {
      throw std::invalid_argument("no layer " + layer.op);
    }
    reserve_shape();
  }

  void check_width(const Layer& layer) const {
    if (is_flat_ || layer.width == 0 || layer.width > shape_.positions) {
      throw std::invalid_argument(layer.op + " is too wide");
    }
  }

  void expand_tents(const Layer& layer) {
    if (is_flat_ || shape_.channels != 1 || layer.size == 0) throw std::invalid_argument("tent needs one channel");
    const std::size_t channels = layer.size + 1;
    const std::size_t stride = padded(channels);
    add<ExpandTents>(layer.size, shape_.positions, shape_.stride, stride);
    shape_ = {.channels = channels, .positions = shape_.positions, .stride = stride};
    is_rectified_ = false;  // nothing is below 0, but a scaler joins the next convolution to a table
  }

  // What a convolution's sums become: the layers after it that the same step does.
  Epilogue take_epilogue() {
    Epilogue after;
    for (; next_ < layers_.size(); ++next_) {
      if (is(next_, "relu")) {
        after.relu = true;
      } else if (is(next_, "max_pool") && after.pool == 1 && layers_[next_].width >= 1 &&
                 layers_[next_].width <= std::min(kernels_.tile, shape_.positions)) {
        after.pool = layers_[next_].width;
      } else {
        break;
      }
    }
    return after;
  }

  void convolve(const Layer& layer) {
    check_width(layer);
    check_weights(layer, layer.size * shape_.channels * layer.width);
    const Shape in = shape_;
    shape_ = {.channels = layer.size, .positions = in.positions - layer.width + 1, .stride = padded(layer.size)};
    const Epilogue after = take_epilogue();
    Floats matrix(layer.width * in.stride * shape_.stride);
    for (std::size_t k = 0; k < layer.width; ++k) {
      for (std::size_t c = 0; c < in.channels; ++c) {
        for (std::size_t n = 0; n < layer.size; ++n) {
          matrix[(k * in.stride + c) * shape_.stride + n] = layer.weight[(n * in.channels + c) * layer.width + k];
        }
      }
    }
    const Windows windows{.flow_stride = in.floats(),
                          .positions = shape_.positions,
                          .position_stride = in.stride,
                          .depth = layer.width * in.stride};
    const bool is_winograd = layer.width == 3 && in.channels >= Winograd::min_channels &&
                             in.stride % kernels_.lanes == 0 && shape_.positions >= 3;
    if (is_winograd && !takes_int8(matrix, windows, in)) {
      const auto& step = add<Winograd>(matrix, padded_bias(layer), in, after, kernels_);
      plan_.transformed = std::max(plan_.transformed, step.transformed());
      plan_.products = std::max(plan_.products, step.products());
    } else {
      multiply(matrix, layer, windows, in, after);
    }
    shape_.positions /= after.pool;
    is_rectified_ = after.relu;
  }

  void connect(const Layer& layer) {
    if (!is_flat_) throw std::invalid_argument("dense needs a flat vector");
    check_weights(layer, layer.size * shape_.channels * shape_.positions);
    const Shape in = shape_;
    const std::size_t depth = in.floats();
    shape_ = {.channels = layer.size, .positions = 1, .stride = padded(layer.size)};
    const bool is_dot = next_ == layers_.size() && layer.size <= FewClasses::max_classes;
    const std::size_t depth_stride = is_dot ? 1 : shape_.stride;
    const std::size_t output_stride = is_dot ? depth : 1;
    Floats matrix(is_dot ? layer.size * depth : depth * shape_.stride);
    for (std::size_t n = 0; n < layer.size; ++n) {
      for (std::size_t c = 0; c < in.channels; ++c) {
        for (std::size_t p = 0; p < in.positions; ++p) {
          matrix[(p * in.stride + c) * depth_stride + n * output_stride] =
              layer.weight[(n * in.channels + c) * in.positions + p];
        }
      }
    }
    if (is_dot) {
      add<FewClasses>(std::move(matrix), Floats(layer.bias.begin(), layer.bias.end()), depth, kernels_);
      has_logits_ = true;
      return;
    }
    const bool relu = is(next_, "relu");
    if (relu) ++next_;
    const Windows windows{.flow_stride = depth, .positions = 1, .position_stride = depth, .depth = depth};
    multiply(matrix, layer, windows, in, {.relu = relu});
    is_rectified_ = relu;
  }

  // Whether 8 bits are faster for these weights, and hold what they meet: nothing below 0.
  bool takes_int8(const Floats& matrix, const Windows& windows, const Shape& in) const {
    return int8_ && is_rectified_ && in.stride % kernels_.lanes == 0 &&
           Multiply8::fits(matrix, windows.depth, windows.positions);
  }

  void multiply(const Floats& matrix, const Layer& layer, const Windows& windows, const Shape& in,
                const Epilogue& after) {
    if (takes_int8(matrix, windows, in)) {
      add<Multiply8>(matrix, padded_bias(layer), windows, after, kernels_);
      ++plan_.int8_layers;
    } else {
      add<Multiply>(matrix, padded_bias(layer), windows, after, kernels_);
    }
  }

  const Kernels& kernels_;
  bool int8_;
  std::size_t inputs_;
  std::vector<Layer> layers_;  // without dropout
  std::size_t next_ = 0;       // layer
  Plan plan_;
  Shape shape_;
  bool is_flat_ = false;       // after flatten: a vector, channel after channel in PyTorch's order
  bool is_rectified_ = false;  // since the last weights
  bool has_logits_ = false;
};

}  // namespace

Plan build(const Scaler* scaler, std::size_t inputs, std::span<const Layer> layers, const Kernels& kernels, bool int8) {
  if (inputs == 0) throw std::invalid_argument("a network without inputs");
  if (scaler && scaler->inputs() != inputs) {
    throw std::invalid_argument("the scaler has other inputs than the network");
  }
  return Builder(inputs, layers, kernels, int8).build(scaler);
}

}  // namespace etcc
