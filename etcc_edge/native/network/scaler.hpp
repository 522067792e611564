// Raw features, or two of them joined, to a network's inputs in [0, 1], each by a monotone piecewise-linear map.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.hpp"

namespace etcc {

class Scaler {
 public:
  // Input i reads raw feature sources[i] by the knots starts[i] .. starts[i + 1] of x (strictly rising) and y
  // (not falling), at least one; `missing[i]` is what NaN maps to. Where operations[i] is an `Operation` but `none`, it
  // reads that of the features sources[i] and second[i]; second[i] is else -1. Both may be empty: no input does. Throws
  // std::invalid_argument on anything else.
  Scaler(std::span<const std::int64_t> sources, std::span<const std::int64_t> starts, std::span<const float> x,
         std::span<const float> y, std::span<const float> missing, std::span<const std::int64_t> operations = {},
         std::span<const std::int64_t> second = {});

  std::size_t inputs() const { return reads_.size(); }
  std::size_t features() const { return features_; }  // that a row must have at least

  // What input i reads, its knots' x, y and slope to the next knot (0 at the last), and what NaN becomes.
  struct Map {
    Reading reads;
    std::span<const float> x, y, slope;
    float missing;
  };
  Map input(std::size_t i) const;

  // Row rows[i] of `raw` (row-major, `features` wide) to row i of `out`, `inputs()` wide; in float32
  // arithmetic, y[k] + (v - x[k]) * slope[k], constant beyond the first and the last knot.
  void transform(std::span<const float> raw, std::size_t features, std::span<const std::int64_t> rows,
                 std::span<float> out) const;

  // 1 where a value of the row lies beyond all knots of the inputs that read it alone; NaN does not.
  void outside(std::span<const float> raw, std::size_t features, std::span<std::uint8_t> out) const;

 private:
  float map(std::size_t input, float value) const;
  void check_width(std::size_t features) const;

  std::vector<Reading> reads_;
  std::size_t features_ = 0;
  std::vector<std::size_t> starts_;
  std::vector<float> x_, y_, slope_, missing_;
  std::vector<float> low_, high_;  // of each feature, over all inputs that read it alone
};

}  // namespace etcc
