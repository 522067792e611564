// Features to [0, 1]: one monotone piecewise-linear map a feature.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace etcc {

class Scaler {
 public:
  // Feature i has the knots starts[i] .. starts[i + 1] of x (strictly rising) and y (not falling), at least
  // one; `missing` is what NaN maps to. Throws std::invalid_argument on anything else.
  Scaler(std::span<const std::int64_t> starts, std::span<const float> x, std::span<const float> y,
         std::span<const float> missing);

  std::size_t features() const { return missing_.size(); }

  // Row rows[i] of `raw` (row-major, `features()` wide) to row i of `out`; in float32 arithmetic,
  // y[k] + (v - x[k]) * slope[k], constant beyond the first and the last knot.
  void transform(std::span<const float> raw, std::span<const std::int64_t> rows, std::span<float> out) const;

  // 1 where a feature of the row lies beyond its first or last knot; NaN does not.
  void outside(std::span<const float> raw, std::span<std::uint8_t> out) const;

 private:
  float map(std::size_t feature, float value) const;

  std::vector<std::size_t> starts_;
  std::vector<float> x_, y_, slope_, missing_;
};

}  // namespace etcc
