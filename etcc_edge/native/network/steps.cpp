#include "network/steps.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace etcc {
namespace {

// Depth from which one position alone waits for its weights to arrive from memory.
constexpr std::size_t min_sparse_depth = 512;
// Multiply-adds of a flow; fewer do not pay for making the codes.
constexpr std::size_t min_int8_macs = 16384;
// For sums of 32 bits.
constexpr std::size_t max_int8_depth = (std::size_t{1} << 31) / (std::size_t{max_code} * max_code) - 1;

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

}  // namespace

void CopyRows::run(Block& block) const {
  for (std::size_t i = 0; i < block.flows; ++i) {
    const float* row = block.raw + static_cast<std::size_t>(block.index[i]) * block.features;
    std::copy_n(row, inputs_, block.space.front.data() + i * inputs_);
  }
}

void ScaleRows::run(Block& block) const {
  const auto columns = maps_.columns();
  kernels_.scale(columns.data(), columns.size(), block.raw, block.features, block.index, block.flows,
                 block.space.front.data());
}

LookUpRows::LookUpRows(const Scaler& scaler, std::size_t bins, std::span<const float> weight, std::size_t channels,
                       Floats bias, bool relu, const Kernels& kernels)
    : table_(scaler, bins, weight, channels, bias.size()),
      bias_(std::move(bias)),
      bins_(static_cast<float>(bins)),
      relu_(relu),
      kernels_(kernels) {}

void LookUpRows::run(Block& block) const {
  const auto columns = table_.columns();
  auto& space = block.space;
  kernels_.locate(columns.data(), columns.size(), block.raw, block.features, block.index, block.flows, bins_,
                  space.table_row.data(), space.fraction.data(), flows_per_block);
  kernels_.lookup({.table = table_.floats(),
                   .width = table_.width(),
                   .bias = bias_.data(),
                   .table_row = space.table_row.data(),
                   .fraction = space.fraction.data(),
                   .columns = columns.size(),
                   .stride = flows_per_block,
                   .flows = block.flows,
                   .out = space.front.data(),
                   .relu = relu_});
}

void ExpandTents::run(Block& block) const {
  auto& space = block.space;
  for (std::size_t i = 0; i < block.flows * positions_; ++i) {
    const float place = space.front[i * in_stride_] * static_cast<float>(bins_);
    float* out = space.back.data() + i * out_stride_;
    for (std::size_t t = 0; t < out_stride_; ++t) {
      const float distance = place - static_cast<float>(t);
      const float height = 1.0F - (distance < 0 ? -distance : distance);
      out[t] = t > bins_ || height < 0 ? 0.0F : height;
    }
  }
  std::swap(space.front, space.back);
}

void Relu::run(Block& block) const {
  float* values = block.space.front.data();
  for (std::size_t i = 0; i < block.flows * floats_; ++i) values[i] = values[i] < 0 ? 0.0F : values[i];
}

void MaxPool::run(Block& block) const {
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

Multiply::Multiply(const Floats& matrix, Floats bias, const Windows& windows, const Epilogue& after,
                   const Kernels& kernels)
    : packed_(pack(matrix, windows.depth, bias.size(), kernels.panel)), bias_(std::move(bias)), kernels_(kernels) {
  const std::size_t outputs = windows.positions / after.pool;
  product_ = {.flow_stride = windows.flow_stride,
              .positions = outputs * after.pool,
              .position_stride = windows.position_stride,
              .depth = windows.depth,
              .packed = packed_.data(),
              .bias = bias_.data(),
              .width = bias_.size(),
              .out_stride = outputs * bias_.size(),
              .pool = after.pool,
              .relu = after.relu,
              .skip_zeros = windows.positions == 1 && windows.depth >= min_sparse_depth && all_finite(matrix)};
}

void Multiply::run(Block& block) const {
  Product product = product_;
  product.in = block.space.front.data();
  product.out = block.space.back.data();
  product.flows = block.flows;
  kernels_.multiply(product);
  std::swap(block.space.front, block.space.back);
}

bool Multiply8::fits(const Floats& matrix, std::size_t depth, std::size_t positions) {
  return positions * matrix.size() >= min_int8_macs && depth <= max_int8_depth && all_finite(matrix);
}

Multiply8::Multiply8(const Floats& matrix, Floats bias, const Windows& windows, const Epilogue& after,
                     const Kernels& kernels)
    : bias_(std::move(bias)), kernels_(kernels) {
  const std::size_t width = bias_.size();
  Floats largest(width);
  for (std::size_t i = 0; i < matrix.size(); ++i) {
    largest[i % width] = std::max(largest[i % width], std::abs(matrix[i]));
  }
  for (const float weight : largest) scale_.push_back(std::max(weight, 1e-30F) / max_code);
  for (std::size_t column = 0; column < width; column += kernels.panel) {
    const std::size_t end = std::min(column + kernels.panel, width);
    for (std::size_t k = 0; k < windows.depth; k += 4) {
      for (std::size_t c = column; c < end; ++c) {
        for (std::size_t j = k; j < k + 4; ++j) {
          packed_.push_back(static_cast<std::int8_t>(std::nearbyint(matrix[j * width + c] / scale_[c])));
        }
      }
    }
  }
  const std::size_t outputs = windows.positions / after.pool;
  product_ = {.flow_stride = windows.flow_stride,
              .positions = outputs * after.pool,
              .position_stride = windows.position_stride,
              .depth = windows.depth,
              .packed = packed_.data(),
              .weight_scale = scale_.data(),
              .bias = bias_.data(),
              .width = width,
              .out_stride = outputs * width,
              .pool = after.pool,
              .relu = after.relu};
}

void Multiply8::run(Block& block) const {
  auto& space = block.space;
  kernels_.quantize({.in = space.front.data(),
                     .flows = block.flows,
                     .size = product_.flow_stride,
                     .out = space.codes.data(),
                     .scale = space.scale.data()});
  Product8 product = product_;
  product.in = space.codes.data();
  product.scale = space.scale.data();
  product.out = space.back.data();
  product.flows = block.flows;
  kernels_.multiply8(product);
  std::swap(space.front, space.back);
}

Winograd::Winograd(const Floats& matrix, Floats bias, const Shape& in, const Epilogue& after, const Kernels& kernels)
    : in_(in), width_(bias.size()), bias_(std::move(bias)), zero_(width_, 0.0F), after_(after), kernels_(kernels) {
  constexpr std::array<std::array<double, 3>, planes> taps = {
      {{0.5, 0, 0}, {-0.5, -0.5, -0.5}, {-1.0 / 6, 1.0 / 6, -1.0 / 6}, {1.0 / 6, 2.0 / 6, 4.0 / 6}, {0, 0, 1}}};
  const std::size_t size = in.stride * width_;
  for (std::size_t p = 0; p < planes; ++p) {
    Floats plane(size);
    for (std::size_t i = 0; i < size; ++i) {
      plane[i] = static_cast<float>(taps[p][0] * matrix[i] + taps[p][1] * matrix[size + i] +
                                    taps[p][2] * matrix[2 * size + i]);
    }
    packed_[p] = pack(plane, in.stride, width_, kernels.panel);
  }
}

void Winograd::run(Block& block) const {
  auto& space = block.space;
  const std::size_t pooled = outputs() / after_.pool;
  const std::size_t out_stride = pooled * width_;
  for (std::size_t first = 0; first < block.flows; first += flows_per_transform) {
    const std::size_t flows = std::min(flows_per_transform, block.flows - first);
    const std::size_t all_tiles = flows * tiles();
    kernels_.winograd_in({.in = space.front.data() + first * in_.floats(),
                          .flows = flows,
                          .flow_stride = in_.floats(),
                          .positions = in_.positions,
                          .channels = in_.stride,
                          .tiles = tiles(),
                          .out = space.transformed.data()});
    for (std::size_t p = 0; p < planes; ++p) {
      kernels_.multiply({.in = space.transformed.data() + p * all_tiles * in_.stride,
                         .flows = 1,
                         .flow_stride = 0,
                         .positions = all_tiles,
                         .position_stride = in_.stride,
                         .depth = in_.stride,
                         .packed = packed_[p].data(),
                         .bias = zero_.data(),
                         .width = width_,
                         .out = space.products.data() + p * all_tiles * width_,
                         .out_stride = 0});
    }
    kernels_.winograd_out({.in = space.products.data(),
                           .flows = flows,
                           .tiles = tiles(),
                           .positions = pooled * after_.pool,
                           .width = width_,
                           .bias = bias_.data(),
                           .out = space.back.data() + first * out_stride,
                           .out_stride = out_stride,
                           .pool = after_.pool,
                           .relu = after_.relu});
  }
  std::swap(space.front, space.back);
}

void FewClasses::run(Block& block) const {
  kernels_.dot({.in = block.space.front.data(),
                .flows = block.flows,
                .flow_stride = depth_,
                .depth = depth_,
                .weight = weight_.data(),
                .bias = bias_.data(),
                .classes = bias_.size(),
                .out = block.logits});
}

void Flatten::run(Block& block) const {
  float* out = block.logits;
  for (std::size_t i = 0; i < block.flows; ++i) {
    const float* in = block.space.front.data() + i * in_.floats();
    for (std::size_t c = 0; c < in_.channels; ++c) {
      for (std::size_t p = 0; p < in_.positions; ++p) *out++ = in[p * in_.stride + c];
    }
  }
}

}  // namespace etcc
