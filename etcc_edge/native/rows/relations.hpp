// Relations that hold between the numbers of one flow, whatever meter counted them.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace etcc {

// What holds between the numbers in `columns`, up to `tolerance`, or for gaps to a factor of `far`. Times are in
// microseconds, rates per second, which may have been rounded by `rounding`. A number that is absent or negative
// ("none") belongs to no relation, and a mean gap that was rounded to zero says nothing.
struct Relation {
  enum class Kind : std::uint8_t {
    sum,    // forward + backward = rate × duration: {forward, backward, rate, duration}
    order,  // least ≤ mean ≤ most: {least, mean, most}
    gaps,   // a flow has a packet, and mean gap × (packets - 1) is near its duration: {mean gap, packet rate, duration}
  };
  Kind kind;
  std::array<std::uint32_t, 4> columns;

  static constexpr float tolerance = 0.05F;
  static constexpr float far = 100;
  static constexpr float rounding = 0.005F;  // of two decimals

  bool broken(const float* values) const {
    return broken(values[columns[0]], values[columns[1]], values[columns[2]], values[columns[3]]);
  }

  // Of the numbers themselves, in the order of `columns`.
  bool broken(float a, float b, float c, float d) const {
    if (!(a >= 0 && b >= 0 && c >= 0)) return false;
    if (kind == Kind::order) return a > b * (1 + tolerance) || b > c * (1 + tolerance);
    if (kind == Kind::gaps) {
      const float packets = b * c * 1e-6F;
      const float most = (b + rounding) * c * 1e-6F;
      const float span = a * (packets - 1);
      return c > 0 && (most < 0.9F || (a > 0 && packets > 1.5F && (span > c * far || span * far < c)));
    }
    const float total = a + b;
    const float product = c * d * 1e-6F;
    const float slack = rounding * d * 1e-6F;
    return d > 0 && std::abs(total - product) > tolerance * (total > product ? total : product) + slack;
  }
};

}  // namespace etcc
