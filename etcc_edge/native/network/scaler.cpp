#include "network/scaler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <unordered_map>
#include <utility>

namespace etcc {

Scaler::Scaler(std::span<const std::int64_t> sources, std::span<const std::int64_t> starts, std::span<const float> x,
               std::span<const float> y, std::span<const float> missing)
    : x_(x.begin(), x.end()), y_(y.begin(), y.end()), slope_(x.size(), 0.0F), missing_(missing.begin(), missing.end()) {
  const auto fail = [](bool bad, const char* why) {
    if (bad) throw std::invalid_argument(why);
  };
  fail(sources.size() != missing.size(), "a scaler needs one missing value an input");
  fail(starts.size() != sources.size() + 1, "a scaler needs one start more than inputs");
  fail(std::any_of(sources.begin(), sources.end(), [](auto i) { return i < 0; }), "a scaler source is negative");
  fail(x.size() != y.size(), "a scaler needs as many y as x");
  fail(starts.front() != 0 || starts.back() != static_cast<std::int64_t>(x.size()),
       "scaler starts do not span the knots");
  for (const auto* values : {&x_, &y_, &missing_}) {
    fail(!std::all_of(values->begin(), values->end(), [](float v) { return std::isfinite(v); }),
         "a scaler value is not finite");
  }
  for (std::size_t f = 0; f + 1 < starts.size(); ++f) {
    fail(starts[f + 1] <= starts[f] || starts[f + 1] > starts.back(), "a scaler input has no knots");
    for (auto k = static_cast<std::size_t>(starts[f]); k + 1 < static_cast<std::size_t>(starts[f + 1]); ++k) {
      fail(!(x_[k] < x_[k + 1]), "scaler knots do not rise");
      fail(!(y_[k] <= y_[k + 1]), "scaler values fall");
      slope_[k] = static_cast<float>((double{y_[k + 1]} - y_[k]) / (double{x_[k + 1]} - x_[k]));
      fail(!std::isfinite(slope_[k]), "scaler knots lie too close");
    }
  }
  sources_.assign(sources.begin(), sources.end());
  starts_.assign(starts.begin(), starts.end());
  std::unordered_map<std::size_t, std::pair<float, float>> range;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const float low = x_[starts_[i]];
    const float high = x_[starts_[i + 1] - 1];
    const auto [entry, first] = range.try_emplace(sources_[i], low, high);
    if (!first) entry->second = {std::min(entry->second.first, low), std::max(entry->second.second, high)};
  }
  for (const std::size_t source : sources_) {
    low_.push_back(range[source].first);
    high_.push_back(range[source].second);
  }
}

Scaler::Map Scaler::input(std::size_t i) const {
  const std::size_t first = starts_[i];
  const std::size_t count = starts_[i + 1] - first;
  return {.source = sources_[i],
          .x = std::span(x_).subspan(first, count),
          .y = std::span(y_).subspan(first, count),
          .slope = std::span(slope_).subspan(first, count),
          .missing = missing_[i]};
}

void Scaler::check_width(std::size_t features) const {
  if (std::any_of(sources_.begin(), sources_.end(), [=](std::size_t i) { return i >= features; })) {
    throw std::invalid_argument("the batch has fewer features than the scaler reads");
  }
}

float Scaler::map(std::size_t input, float value) const {
  if (std::isnan(value)) return missing_[input];
  const std::size_t first = starts_[input];
  const std::size_t last = starts_[input + 1] - 1;
  if (value <= x_[first]) return y_[first];
  if (value >= x_[last]) return y_[last];
  const auto* above = std::upper_bound(x_.data() + first, x_.data() + last, value);
  const auto k = static_cast<std::size_t>(above - x_.data()) - 1;
  return std::min(y_[k] + (value - x_[k]) * slope_[k], y_[k + 1]);
}

void Scaler::transform(std::span<const float> raw, std::size_t features, std::span<const std::int64_t> rows,
                       std::span<float> out) const {
  check_width(features);
  const std::size_t width = inputs();
  const std::size_t count = features ? raw.size() / features : 0;
  if (out.size() != rows.size() * width) throw std::invalid_argument("scaled rows of the wrong size");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<std::size_t>(rows[i]);
    if (rows[i] < 0 || row >= count) throw std::out_of_range("row index outside the batch");
    for (std::size_t j = 0; j < width; ++j) out[i * width + j] = map(j, raw[row * features + sources_[j]]);
  }
}

void Scaler::outside(std::span<const float> raw, std::size_t features, std::span<std::uint8_t> out) const {
  check_width(features);
  if (raw.size() != out.size() * features) throw std::invalid_argument("one flag a row is needed");
  // By feature, so that a row is compared as it lies in memory.
  constexpr float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> low(features, -infinity);
  std::vector<float> high(features, infinity);
  for (std::size_t j = 0; j < inputs(); ++j) {
    low[sources_[j]] = low_[j];
    high[sources_[j]] = high_[j];
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    const float* row = raw.data() + i * features;
    unsigned any = 0;
    for (std::size_t j = 0; j < features; ++j) {
      any |= static_cast<unsigned>(row[j] < low[j]) | static_cast<unsigned>(row[j] > high[j]);
    }
    out[i] = any != 0 ? 1 : 0;
  }
}

}  // namespace etcc
