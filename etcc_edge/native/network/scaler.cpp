#include "network/scaler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace etcc {
namespace {

// As `joined` in scale_kernels.cpp.
float value_of(const Reading& reads, const float* row) {
  const float first = row[reads.source];
  if (reads.operation == Operation::none) return first;
  const float second = row[reads.second];
  const float value = reads.operation == Operation::multiply ? first * second
                      : reads.operation == Operation::divide ? first / second
                                                             : first - second;
  return std::isfinite(value) ? value : std::numeric_limits<float>::quiet_NaN();
}

}  // namespace

Scaler::Scaler(std::span<const std::int64_t> sources, std::span<const std::int64_t> starts, std::span<const float> x,
               std::span<const float> y, std::span<const float> missing, std::span<const std::int64_t> operations,
               std::span<const std::int64_t> second)
    : x_(x.begin(), x.end()), y_(y.begin(), y.end()), slope_(x.size(), 0.0F), missing_(missing.begin(), missing.end()) {
  const auto fail = [](bool bad, const char* why) {
    if (bad) throw std::invalid_argument(why);
  };
  fail(sources.size() != missing.size(), "a scaler needs one missing value an input");
  fail(starts.size() != sources.size() + 1, "a scaler needs one start more than inputs");
  fail(std::any_of(sources.begin(), sources.end(), [](auto i) { return i < 0; }), "a scaler source is negative");
  fail(operations.size() != second.size() || (!operations.empty() && operations.size() != sources.size()),
       "a scaler needs one operation and one second feature an input, or none at all");
  for (std::size_t i = 0; i < operations.size(); ++i) {
    fail(operations[i] < 0 || operations[i] > static_cast<std::int64_t>(Operation::subtract),
         "a scaler's operation is none of 0 to 3");
    fail(second[i] < -1 || (second[i] == -1) != (operations[i] == 0),
         "a scaler needs a second feature for each operation, and no other");
  }
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
  for (std::size_t i = 0; i < sources.size(); ++i) {
    Reading reads{.source = static_cast<std::size_t>(sources[i])};
    if (!operations.empty() && operations[i] != 0) {
      reads.operation = static_cast<Operation>(operations[i]);
      reads.second = static_cast<std::size_t>(second[i]);
    }
    features_ = std::max({features_, reads.source + 1, reads.second + 1});
    reads_.push_back(reads);
  }
  starts_.assign(starts.begin(), starts.end());
  constexpr float infinity = std::numeric_limits<float>::infinity();
  low_.assign(features_, infinity);
  high_.assign(features_, -infinity);
  for (std::size_t i = 0; i < reads_.size(); ++i) {
    if (reads_[i].operation != Operation::none) continue;
    float& low = low_[reads_[i].source];
    float& high = high_[reads_[i].source];
    low = std::min(low, x_[starts_[i]]);
    high = std::max(high, x_[starts_[i + 1] - 1]);
  }
  for (std::size_t f = 0; f < features_; ++f) {
    if (low_[f] > high_[f]) {  // no input reads it alone
      low_[f] = -infinity;
      high_[f] = infinity;
    }
  }
}

Scaler::Map Scaler::input(std::size_t i) const {
  const std::size_t first = starts_[i];
  const std::size_t count = starts_[i + 1] - first;
  return {.reads = reads_[i],
          .x = std::span(x_).subspan(first, count),
          .y = std::span(y_).subspan(first, count),
          .slope = std::span(slope_).subspan(first, count),
          .missing = missing_[i]};
}

void Scaler::check_width(std::size_t features) const {
  if (features < features_) throw std::invalid_argument("the batch has fewer features than the scaler reads");
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
    for (std::size_t j = 0; j < width; ++j)
      out[i * width + j] = map(j, value_of(reads_[j], raw.data() + row * features));
  }
}

void Scaler::outside(std::span<const float> raw, std::size_t features, std::span<std::uint8_t> out) const {
  check_width(features);
  if (raw.size() != out.size() * features) throw std::invalid_argument("one flag a row is needed");
  for (std::size_t i = 0; i < out.size(); ++i) {
    const float* row = raw.data() + i * features;
    unsigned any = 0;
    for (std::size_t j = 0; j < features_; ++j) {
      any |= static_cast<unsigned>(row[j] < low_[j]) | static_cast<unsigned>(row[j] > high_[j]);
    }
    out[i] = any != 0 ? 1 : 0;
  }
}

}  // namespace etcc
