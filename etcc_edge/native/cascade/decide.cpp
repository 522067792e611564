#include "cascade/decide.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace etcc {

void decide(std::span<const float> logits, std::size_t classes, float temperature, std::span<std::int32_t> label,
            std::span<float> confidence, std::span<float> energy) {
  if (classes == 0) throw std::invalid_argument("logits without classes");
  if (!(temperature > 0)) throw std::invalid_argument("temperature must be above 0");
  const std::size_t n = label.size();
  if (logits.size() != n * classes || confidence.size() != n || energy.size() != n) {
    throw std::invalid_argument("logits and outputs differ in rows");
  }
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  for (std::size_t i = 0; i < n; ++i) {
    const auto row = logits.subspan(i * classes, classes);
    if (!std::all_of(row.begin(), row.end(), [](float v) { return std::isfinite(v); })) {
      label[i] = -1;
      confidence[i] = energy[i] = nan;
      continue;
    }
    const auto best = std::max_element(row.begin(), row.end());
    double scaled_sum = 0;
    double sum = 0;
    for (const float v : row) {
      const double below = double{v} - *best;
      scaled_sum += std::exp(below / temperature);
      sum += std::exp(below);
    }
    label[i] = static_cast<std::int32_t>(best - row.begin());
    confidence[i] = static_cast<float>(1.0 / scaled_sum);
    energy[i] = static_cast<float>(-(*best + std::log(sum)));
  }
}

}  // namespace etcc
