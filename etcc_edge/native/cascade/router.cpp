#include "cascade/router.hpp"

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

Partition partition(std::span<const std::int32_t> label, std::size_t groups) {
  Partition result;
  result.bounds.assign(groups + 1, 0);
  for (const std::int32_t g : label) {
    if (g < 0) continue;
    if (static_cast<std::size_t>(g) >= groups) throw std::out_of_range("label without a group");
    ++result.bounds[static_cast<std::size_t>(g) + 1];
  }
  for (std::size_t g = 0; g < groups; ++g) result.bounds[g + 1] += result.bounds[g];
  result.rows.resize(static_cast<std::size_t>(result.bounds[groups]));
  std::vector<std::int64_t> next(result.bounds.begin(), result.bounds.end() - 1);
  for (std::size_t i = 0; i < label.size(); ++i) {
    if (label[i] < 0) continue;
    auto& slot = next[static_cast<std::size_t>(label[i])];
    result.rows[static_cast<std::size_t>(slot++)] = static_cast<std::int64_t>(i);
  }
  return result;
}

template <class T>
void scatter(std::span<const T> values, std::span<const std::int64_t> rows, std::span<T> out) {
  if (values.size() != rows.size()) throw std::invalid_argument("one value a row is needed");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || static_cast<std::size_t>(rows[i]) >= out.size())
      throw std::out_of_range("row outside the output");
    out[static_cast<std::size_t>(rows[i])] = values[i];
  }
}

template void scatter<float>(std::span<const float>, std::span<const std::int64_t>, std::span<float>);
template void scatter<std::int32_t>(std::span<const std::int32_t>, std::span<const std::int64_t>,
                                    std::span<std::int32_t>);

}  // namespace etcc
