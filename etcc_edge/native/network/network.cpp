#include "network/network.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "network/maps.hpp"

namespace etcc {
namespace {

// Values of a flow: position after position, each `stride` floats of which the first `channels` count; the rest
// are zero.
struct Shape {
  std::size_t channels, positions, stride;
  std::size_t floats() const { return positions * stride; }
};

std::size_t round_up(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; }

// ---- From the block's rows.

class CopyRows : public Step {
 public:
  explicit CopyRows(std::size_t inputs) : inputs_(inputs) {}

  void run(Block& block) const override {
    for (std::size_t i = 0; i < block.flows; ++i) {
      const float* row = block.raw + static_cast<std::size_t>(block.index[i]) * block.features;
      std::copy_n(row, inputs_, block.space.front.data() + i * inputs_);
    }
  }

 private:
  std::size_t inputs_;
};

class ScaleRows : public Step {
 public:
  ScaleRows(const Scaler& scaler, const Kernels& kernels) : maps_(scaler), kernels_(kernels) {}

  void run(Block& block) const override {
    const auto columns = maps_.columns();
    kernels_.scale(columns.data(), columns.size(), block.raw, block.features, block.index, block.flows,
                   block.space.front.data());
  }

 private:
  Maps maps_;
  const Kernels& kernels_;
};

class LookUpRows : public Step {
 public:
  LookUpRows(const Scaler& scaler, std::size_t bins, const Layer& conv, std::size_t width, std::size_t stride,
             bool relu, const Kernels& kernels)
      : table_(scaler, bins, conv.weight, conv.size, width),
        bins_(static_cast<float>(bins)),
        stride_(stride),
        relu_(relu),
        kernels_(kernels) {
    bias_.assign(conv.bias.begin(), conv.bias.end());
    bias_.resize(width, 0.0F);
  }

  std::size_t columns() const { return table_.columns().size(); }

  void run(Block& block) const override {
    const auto columns = table_.columns();
    auto& space = block.space;
    kernels_.locate(columns.data(), columns.size(), block.raw, block.features, block.index, block.flows, bins_,
                    space.row.data(), space.fraction.data(), stride_);
    kernels_.lookup({table_.rows(), table_.width(), bias_.data(), space.row.data(), space.fraction.data(),
                     columns.size(), stride_, block.flows, space.front.data(), relu_});
  }

 private:
  TentTable table_;
  Floats bias_;
  float bins_;
  std::size_t stride_;
  bool relu_;
  const Kernels& kernels_;
};

// ---- From `front` to `front`.

class ExpandTents : public Step {
 public:
  ExpandTents(std::size_t bins, std::size_t positions, std::size_t from, std::size_t to)
      : bins_(bins), positions_(positions), from_(from), to_(to) {}

  void run(Block& block) const override {
    auto& space = block.space;
    for (std::size_t i = 0; i < block.flows * positions_; ++i) {
      const float place = space.front[i * from_] * static_cast<float>(bins_);
      float* out = space.back.data() + i * to_;
      for (std::size_t t = 0; t < to_; ++t) {
        const float distance = place - static_cast<float>(t);
        const float height = 1.0F - (distance < 0 ? -distance : distance);
        out[t] = t > bins_ || height < 0 ? 0.0F : height;
      }
    }
    std::swap(space.front, space.back);
  }

 private:
  std::size_t bins_, positions_, from_, to_;
};

class Relu : public Step {
 public:
  explicit Relu(std::size_t floats) : floats_(floats) {}

  void run(Block& block) const override {
    float* values = block.space.front.data();
    for (std::size_t i = 0; i < block.flows * floats_; ++i) values[i] = values[i] < 0 ? 0.0F : values[i];
  }

 private:
  std::size_t floats_;
};

class MaxPool : public Step {
 public:
  MaxPool(const Shape& in, std::size_t width) : in_(in), width_(width) {}

  void run(Block& block) const override {
    auto& space = block.space;
    float* out = space.back.data();
    for (std::size_t i = 0; i < block.flows; ++i) {
      for (std::size_t p = 0; p < in_.positions / width_; ++p, out += in_.stride) {
        const float* in = space.front.data() + i * in_.floats() + p * width_ * in_.stride;
        std::copy_n(in, in_.stride, out);
        for (std::size_t k = 1; k < width_; ++k) {
          for (std::size_t c = 0; c < in_.stride; ++c) {
            const float value = in[k * in_.stride + c];
            out[c] = value < out[c] ? out[c] : value;  // NaN stays
          }
        }
      }
    }
    std::swap(space.front, space.back);
  }

 private:
  Shape in_;
  std::size_t width_;
};

// [depth][width] to panels of `panel` columns, each [depth][columns].
Floats pack(const Floats& matrix, std::size_t depth, std::size_t width, std::size_t panel) {
  Floats packed;
  packed.reserve(matrix.size());
  for (std::size_t column = 0; column < width; column += panel) {
    const std::size_t columns = std::min(panel, width - column);
    for (std::size_t k = 0; k < depth; ++k) {
      const auto row = matrix.begin() + static_cast<std::ptrdiff_t>(k * width + column);
      packed.insert(packed.end(), row, row + static_cast<std::ptrdiff_t>(columns));
    }
  }
  return packed;
}

bool all_finite(const Floats& values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

struct Epilogue {
  bool relu = false;
  std::size_t pool = 1;
};

class Multiply : public Step {
 public:
  static constexpr std::size_t large = 512;  // depth from which one row alone waits for memory

  // `matrix` is [depth][bias.size()].
  Multiply(const Floats& matrix, Floats bias, std::size_t in_stride, std::size_t rows, std::size_t step,
           std::size_t depth, Epilogue after, const Kernels& kernels)
      : packed_(pack(matrix, depth, bias.size(), kernels.panel)), bias_(std::move(bias)), kernels_(kernels) {
    const bool skip_zeros = rows == 1 && depth >= large && all_finite(matrix);
    product_ = {nullptr,
                0,
                in_stride,
                rows / after.pool * after.pool,
                step,
                depth,
                packed_.data(),
                bias_.data(),
                bias_.size(),
                nullptr,
                rows / after.pool * bias_.size(),
                after.pool,
                after.relu,
                skip_zeros};
  }

  void run(Block& block) const override {
    Product product = product_;
    product.in = block.space.front.data();
    product.out = block.space.back.data();
    product.flows = block.flows;
    kernels_.multiply(product);
    std::swap(block.space.front, block.space.back);
  }

 private:
  Floats packed_, bias_;
  Product product_;
  const Kernels& kernels_;
};

// The product in 8-bit codes: weights by a scale for each column, a flow's activations by one scale.
class Multiply8 : public Step {
 public:
  static constexpr std::size_t least = 16384;  // multiply-adds of a flow; fewer do not pay for making the codes
  static constexpr std::size_t deepest = (std::size_t{1} << 31) / (127 * 127) - 1;  // for sums of 32 bits

  // `matrix` is [depth][bias.size()], finite.
  Multiply8(const Floats& matrix, Floats bias, std::size_t in_stride, std::size_t rows, std::size_t step,
            std::size_t depth, Epilogue after, const Kernels& kernels)
      : bias_(std::move(bias)), kernels_(kernels) {
    const std::size_t width = bias_.size();
    Floats largest(width);
    for (std::size_t i = 0; i < matrix.size(); ++i) {
      largest[i % width] = std::max(largest[i % width], std::abs(matrix[i]));
    }
    for (const float weight : largest) scale_.push_back(std::max(weight, 1e-30F) / most);
    for (std::size_t column = 0; column < width; column += kernels.panel) {
      const std::size_t end = std::min(column + kernels.panel, width);
      for (std::size_t k = 0; k < depth; k += 4) {
        for (std::size_t c = column; c < end; ++c) {
          for (std::size_t j = k; j < k + 4; ++j) {
            packed_.push_back(static_cast<std::int8_t>(std::nearbyint(matrix[j * width + c] / scale_[c])));
          }
        }
      }
    }
    product_ = {nullptr,
                nullptr,
                0,
                in_stride,
                rows / after.pool * after.pool,
                step,
                depth,
                packed_.data(),
                scale_.data(),
                bias_.data(),
                width,
                nullptr,
                rows / after.pool * width,
                after.pool,
                after.relu};
  }

  void run(Block& block) const override {
    auto& space = block.space;
    kernels_.quantize({space.front.data(), block.flows, product_.in_stride, space.codes.data(), space.scale.data()});
    Product8 product = product_;
    product.in = space.codes.data();
    product.scale = space.scale.data();
    product.out = space.back.data();
    product.flows = block.flows;
    kernels_.multiply8(product);
    std::swap(space.front, space.back);
  }

 private:
  static constexpr float most = 127.0F;

  Aligned<std::int8_t> packed_;
  Floats scale_, bias_;
  Product8 product_;
  const Kernels& kernels_;
};

// A convolution with three taps in Winograd's form F(3, 3): five products for three outputs, not nine.
class Winograd : public Step {
 public:
  static constexpr std::size_t group = 16;  // flows whose transforms lie side by side, and stay in cache

  // `matrix` is [3][in.stride][bias.size()].
  Winograd(const Floats& matrix, Floats bias, const Shape& in, Epilogue after, const Kernels& kernels)
      : in_(in), width_(bias.size()), bias_(std::move(bias)), zero_(width_, 0.0F), after_(after), kernels_(kernels) {
    constexpr std::array<std::array<double, 3>, 5> taps = {
        {{0.5, 0, 0}, {-0.5, -0.5, -0.5}, {-1.0 / 6, 1.0 / 6, -1.0 / 6}, {1.0 / 6, 2.0 / 6, 4.0 / 6}, {0, 0, 1}}};
    const std::size_t size = in.stride * width_;
    for (std::size_t p = 0; p < taps.size(); ++p) {
      Floats plane(size);
      for (std::size_t i = 0; i < size; ++i) {
        plane[i] = static_cast<float>(taps[p][0] * matrix[i] + taps[p][1] * matrix[size + i] +
                                      taps[p][2] * matrix[2 * size + i]);
      }
      packed_[p] = pack(plane, in.stride, width_, kernels.panel);
    }
  }

  std::size_t tiles() const { return (in_.positions - 2 + 2) / 3; }
  std::size_t transformed() const { return 5 * group * tiles() * in_.stride; }
  std::size_t products() const { return 5 * group * tiles() * width_; }

  void run(Block& block) const override {
    auto& space = block.space;
    const std::size_t rows = (in_.positions - 2) / after_.pool * after_.pool;
    const std::size_t out_stride = rows / after_.pool * width_;
    for (std::size_t first = 0; first < block.flows; first += group) {
      const std::size_t flows = std::min(group, block.flows - first);
      const std::size_t all = flows * tiles();
      kernels_.winograd_in({space.front.data() + first * in_.floats(), flows, in_.floats(), in_.positions, in_.stride,
                            tiles(), space.transformed.data()});
      for (std::size_t p = 0; p < packed_.size(); ++p) {
        kernels_.multiply({space.transformed.data() + p * all * in_.stride, 1, 0, all, in_.stride, in_.stride,
                           packed_[p].data(), zero_.data(), width_, space.products.data() + p * all * width_, 0, 1,
                           false, false});
      }
      kernels_.winograd_out({space.products.data(), flows, tiles(), rows, width_, bias_.data(),
                             space.back.data() + first * out_stride, out_stride, after_.pool, after_.relu});
    }
    std::swap(space.front, space.back);
  }

 private:
  Shape in_;
  std::size_t width_;
  std::array<Floats, 5> packed_;
  Floats bias_, zero_;
  Epilogue after_;
  const Kernels& kernels_;
};

// ---- To the logits.

class FewClasses : public Step {
 public:
  static constexpr std::size_t most = 16;

  // `weight` is [classes][depth].
  FewClasses(Floats weight, Floats bias, std::size_t depth, const Kernels& kernels)
      : weight_(std::move(weight)), bias_(std::move(bias)), depth_(depth), kernels_(kernels) {}

  void run(Block& block) const override {
    kernels_.dot({block.space.front.data(), block.flows, depth_, depth_, weight_.data(), bias_.data(), bias_.size(),
                  block.logits});
  }

 private:
  Floats weight_, bias_;
  std::size_t depth_;
  const Kernels& kernels_;
};

class Flatten : public Step {
 public:
  explicit Flatten(const Shape& in) : in_(in) {}

  void run(Block& block) const override {
    float* out = block.logits;
    for (std::size_t i = 0; i < block.flows; ++i) {
      const float* in = block.space.front.data() + i * in_.floats();
      for (std::size_t c = 0; c < in_.channels; ++c) {
        for (std::size_t p = 0; p < in_.positions; ++p) *out++ = in[p * in_.stride + c];
      }
    }
  }

 private:
  Shape in_;
};

}  // namespace

// Turns layers into steps, and joins what one step can do.
class Builder {
 public:
  Builder(Network& network, const Scaler* scaler, std::span<const Layer> layers, const Kernels& kernels, bool int8)
      : network_(network), kernels_(kernels), shape_{1, network.inputs_, 1}, int8_(int8 && kernels.multiply8) {
    for (const Layer& layer : layers) {
      if (layer.op != "dropout") layers_.push_back(layer);
    }
    if (network.inputs_ == 0) throw std::invalid_argument("a network without inputs");
    std::size_t next = 0;
    if (!look_up(scaler, next)) {
      if (scaler) {
        add<ScaleRows>(*scaler, kernels_);
      } else {
        add<CopyRows>(network.inputs_);
      }
      keep();
    }
    while (next < layers_.size()) build(next);
    network.classes_ = shape_.channels * shape_.positions;
    if (!done_) add<Flatten>(shape_);
  }

 private:
  template <class S, class... Arguments>
  const S& add(Arguments&&... arguments) {
    auto step = std::make_unique<S>(std::forward<Arguments>(arguments)...);
    const S& added = *step;
    network_.steps_.push_back(std::move(step));
    return added;
  }

  void keep() { network_.activation_ = std::max(network_.activation_, Network::block * shape_.floats()); }

  bool is(std::size_t i, const char* op) const { return i < layers_.size() && layers_[i].op == op; }

  std::size_t padded(std::size_t channels) const { return round_up(channels, kernels_.lanes); }

  void check(const Layer& layer, std::size_t weights) const {
    if (layer.size == 0 || layer.weight.size() != weights || layer.bias.size() != layer.size) {
      throw std::invalid_argument(layer.op + " has weights of another shape");
    }
  }

  // Tents under a convolution as wide as the input, joined with the scaler.
  bool look_up(const Scaler* scaler, std::size_t& next) {
    if (!scaler || !is(0, "tent") || !is(1, "conv") || layers_[1].width != network_.inputs_ || layers_[0].size == 0 ||
        !TentTable::fits(*scaler)) {
      return false;
    }
    const Layer& conv = layers_[1];
    check(conv, conv.size * (layers_[0].size + 1) * conv.width);
    const bool relu = is(2, "relu");
    rectified_ = relu;
    shape_ = {conv.size, 1, padded(conv.size)};
    const auto& step = add<LookUpRows>(*scaler, layers_[0].size, conv, shape_.stride, Network::block, relu, kernels_);
    network_.columns_ = Network::block * step.columns();
    keep();
    next = relu ? 3 : 2;
    return true;
  }

  void build(std::size_t& next) {
    const Layer& layer = layers_[next++];
    if (layer.op == "relu") {
      add<Relu>(shape_.floats());
      rectified_ = true;
    } else if (layer.op == "tent") {
      if (flat_ || shape_.channels != 1 || layer.size == 0) throw std::invalid_argument("tent needs one channel");
      const Shape before = shape_;
      shape_ = {layer.size + 1, before.positions, padded(layer.size + 1)};
      add<ExpandTents>(layer.size, before.positions, before.stride, shape_.stride);
      rectified_ = false;  // nothing is below 0, but a scaler joins the next convolution to a table
    } else if (layer.op == "max_pool") {
      if (flat_ || layer.width == 0 || layer.width > shape_.positions)
        throw std::invalid_argument("max_pool is too wide");
      add<MaxPool>(shape_, layer.width);
      shape_.positions /= layer.width;
    } else if (layer.op == "flatten") {
      if (flat_) throw std::invalid_argument("flatten of a flat vector");
      flat_ = true;
    } else if (layer.op == "conv") {
      convolve(layer, next);
    } else if (layer.op == "dense") {
      dense(layer, next);
    } else {
      throw std::invalid_argument("no layer " + layer.op);
    }
    keep();
  }

  void convolve(const Layer& layer, std::size_t& next) {
    if (flat_ || layer.width == 0 || layer.width > shape_.positions) throw std::invalid_argument("conv is too wide");
    check(layer, layer.size * shape_.channels * layer.width);
    const Shape before = shape_;
    shape_ = {layer.size, before.positions - layer.width + 1, padded(layer.size)};
    Epilogue after;
    for (; next < layers_.size(); ++next) {
      if (is(next, "relu")) {
        after.relu = true;
      } else if (is(next, "max_pool") && after.pool == 1 && layers_[next].width >= 1 &&
                 layers_[next].width <= std::min(kernels_.tile, shape_.positions)) {
        after.pool = layers_[next].width;
      } else {
        break;
      }
    }
    Floats matrix(layer.width * before.stride * shape_.stride);
    for (std::size_t k = 0; k < layer.width; ++k) {
      for (std::size_t c = 0; c < before.channels; ++c) {
        for (std::size_t n = 0; n < layer.size; ++n) {
          matrix[(k * before.stride + c) * shape_.stride + n] =
              layer.weight[(n * before.channels + c) * layer.width + k];
        }
      }
    }
    const bool int8 = takes_int8(matrix, shape_.positions, before);
    // Fewer channels than this, and the transforms cost more than they save.
    const bool winograd =
        layer.width == 3 && before.channels >= 16 && before.stride % kernels_.lanes == 0 && shape_.positions >= 3;
    if (winograd && !int8) {
      const auto& step = add<Winograd>(matrix, padded_bias(layer), before, after, kernels_);
      network_.transformed_ = std::max(network_.transformed_, step.transformed());
      network_.products_ = std::max(network_.products_, step.products());
    } else {
      multiply(int8, matrix, layer, before.floats(), shape_.positions, before.stride, layer.width * before.stride,
               after);
    }
    shape_.positions /= after.pool;
    rectified_ = after.relu;
  }

  void dense(const Layer& layer, std::size_t& next) {
    if (!flat_) throw std::invalid_argument("dense needs a flat vector");
    check(layer, layer.size * shape_.channels * shape_.positions);
    const Shape before = shape_;
    const std::size_t depth = before.floats();
    shape_ = {layer.size, 1, padded(layer.size)};
    const bool few = next == layers_.size() && layer.size <= FewClasses::most;
    const std::size_t row = few ? 1 : shape_.stride;
    const std::size_t column = few ? depth : 1;
    Floats matrix(few ? layer.size * depth : depth * shape_.stride);
    for (std::size_t n = 0; n < layer.size; ++n) {
      for (std::size_t c = 0; c < before.channels; ++c) {
        for (std::size_t p = 0; p < before.positions; ++p) {
          matrix[(p * before.stride + c) * row + n * column] =
              layer.weight[(n * before.channels + c) * before.positions + p];
        }
      }
    }
    if (few) {
      add<FewClasses>(std::move(matrix), Floats(layer.bias.begin(), layer.bias.end()), depth, kernels_);
      done_ = true;
      return;
    }
    const bool relu = is(next, "relu");
    if (relu) ++next;
    multiply(takes_int8(matrix, 1, before), matrix, layer, depth, 1, depth, depth, Epilogue{relu, 1});
    rectified_ = relu;
  }

  // Whether 8 bits are faster for these weights, and hold what they meet: nothing below 0.
  bool takes_int8(const Floats& matrix, std::size_t rows, const Shape& before) const {
    return int8_ && rectified_ && rows * matrix.size() >= Multiply8::least && before.stride % kernels_.lanes == 0 &&
           matrix.size() / shape_.stride <= Multiply8::deepest && all_finite(matrix);
  }

  void multiply(bool int8, const Floats& matrix, const Layer& layer, std::size_t in_stride, std::size_t rows,
                std::size_t step, std::size_t depth, Epilogue after) {
    if (int8) {
      add<Multiply8>(matrix, padded_bias(layer), in_stride, rows, step, depth, after, kernels_);
      ++network_.int8_layers_;
    } else {
      add<Multiply>(matrix, padded_bias(layer), in_stride, rows, step, depth, after, kernels_);
    }
  }

  Floats padded_bias(const Layer& layer) const {
    Floats bias(layer.bias.begin(), layer.bias.end());
    bias.resize(padded(layer.size), 0.0F);
    return bias;
  }

  Network& network_;
  const Kernels& kernels_;
  std::vector<Layer> layers_;
  Shape shape_;
  bool flat_ = false;  // after flatten: a vector, channel after channel in PyTorch's order
  bool int8_;
  bool rectified_ = false;  // since the last weights
  bool done_ = false;       // the logits are written
};

Network::Network(const Scaler* scaler, std::size_t inputs, std::span<const Layer> layers, const Kernels& kernels,
                 bool int8)
    : inputs_(inputs), features_(inputs) {
  if (scaler) {
    if (scaler->inputs() != inputs) throw std::invalid_argument("the scaler has other inputs than the network");
    features_ = 0;
    for (std::size_t i = 0; i < inputs; ++i) features_ = std::max(features_, scaler->input(i).source + 1);
  }
  Builder(*this, scaler, layers, kernels, int8);
}

void Network::reserve(Workspace& space) const {
  const auto grow = [](auto& values, std::size_t size) {
    if (values.size() < size) values.resize(size);
  };
  grow(space.front, activation_);
  grow(space.back, activation_);
  grow(space.transformed, transformed_);
  grow(space.products, products_);
  grow(space.fraction, columns_);
  grow(space.row, columns_);
  if (int8_layers_ == 0) return;
  grow(space.codes, activation_);
  grow(space.scale, block);
}

void Network::run(const float* raw, std::size_t features, std::span<const std::int64_t> index, float* logits,
                  Workspace& space) const {
  if (features < features_) throw std::invalid_argument("the rows have fewer features than the network reads");
  const std::size_t together = activation_ > many ? block / 2 : block;
  for (std::size_t first = 0; first < index.size(); first += together) {
    const std::size_t flows = std::min(together, index.size() - first);
    Block rows{raw, features, index.data() + first, flows, logits + first * classes_, space};
    for (const auto& step : steps_) step->run(rows);
  }
}

}  // namespace etcc
