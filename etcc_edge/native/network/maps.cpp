#include "network/maps.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

namespace etcc {
namespace {

constexpr std::size_t max_joined_floats = std::size_t{1} << 24;  // above it, inputs that read the same stay apart

// The scaled value at v in float64; v is any number.
double at(const Scaler::Map& map, double v) {
  if (v <= map.x.front()) return map.y.front();
  if (v >= map.x.back()) return map.y.back();
  const auto k = static_cast<std::size_t>(std::upper_bound(map.x.begin(), map.x.end(), v) - map.x.begin()) - 1;
  const double share = (v - map.x[k]) / (double{map.x[k + 1]} - map.x[k]);
  return map.y[k] + share * (double{map.y[k + 1]} - map.y[k]);
}

}  // namespace

Maps::Maps(const Scaler& scaler) {
  for (std::size_t i = 0; i < scaler.inputs(); ++i) add(scaler.input(i), 0);
}

void Maps::add(const Scaler::Map& map, std::int32_t table_row) {
  const auto copy = [](std::span<const float> values) { return std::vector<float>(values.begin(), values.end()); };
  Pieces pieces{.x = copy(map.x), .y = copy(map.y), .slope = copy(map.slope), .table_rows = {}};
  add(std::move(pieces), map.reads, map.missing, table_row, table_row);
}

void Maps::add(Pieces pieces, const Reading& reads, float missing, std::int32_t table_row, std::int32_t missing_row) {
  pieces.y.push_back(pieces.y.back());
  pieces_.push_back(std::move(pieces));
  const auto& own = pieces_.back();  // the vectors' memory stays where it is when `pieces_` grows
  columns_.push_back({.x = own.x.data(),
                      .y = own.y.data(),
                      .slope = own.slope.data(),
                      .table_rows = own.table_rows.empty() ? nullptr : own.table_rows.data(),
                      .count = own.x.size(),
                      .reads = reads,
                      .table_row = table_row,
                      .missing_row = missing_row,
                      .missing = missing});
}

bool TentTable::fits(const Scaler& scaler) {
  for (std::size_t i = 0; i < scaler.inputs(); ++i) {
    const auto map = scaler.input(i);
    if (map.y.front() < 0 || map.y.back() > 1 || map.missing < 0 || map.missing > 1) return false;
  }
  return true;
}

TentTable::TentTable(const Scaler& scaler, std::size_t bins, std::span<const float> weight, std::size_t channels,
                     std::size_t width)
    : bins_(bins), inputs_(scaler.inputs()), channels_(channels), width_(width), weight_(weight) {
  std::map<Reading, std::vector<std::size_t>> by_reading;
  for (std::size_t i = 0; i < inputs_; ++i) by_reading[scaler.input(i).reads].push_back(i);
  for (const auto& [reads, inputs] : by_reading) {
    if (inputs.size() > 1 && add_joined(scaler, inputs)) continue;
    for (const std::size_t i : inputs) add_alone(scaler.input(i), i);
  }
  rows_.resize(rows_.size() + width_, 0.0F);  // read, times 0, after the last tent's row
  weight_ = {};
}

void TentTable::add_value(Sum& sum, std::size_t input, double scaled) const {
  const double place = scaled * static_cast<double>(bins_);
  const auto below = std::min(static_cast<std::size_t>(place), bins_ - 1);
  const double fraction = place - static_cast<double>(below);
  for (std::size_t c = 0; c < channels_; ++c) {
    const float* tents = weight_.data() + c * (bins_ + 1) * inputs_ + input;
    sum[c] += (1 - fraction) * tents[below * inputs_] + fraction * tents[(below + 1) * inputs_];
  }
}

std::int32_t TentTable::push(const Sum& sum) {
  const auto row = static_cast<std::int32_t>(rows_.size() / width_);
  for (std::size_t c = 0; c < width_; ++c) rows_.push_back(c < channels_ ? static_cast<float>(sum[c]) : 0.0F);
  return row;
}

std::int32_t TentTable::push_input(std::size_t input, const Sum& others) {
  const auto row = static_cast<std::int32_t>(rows_.size() / width_);
  for (std::size_t t = 0; t <= bins_; ++t) {
    Sum sum = others;
    add_value(sum, input, static_cast<double>(t) / static_cast<double>(bins_));
    push(sum);
  }
  return row;
}

void TentTable::add_alone(const Scaler::Map& map, std::size_t input) {
  maps_.add(map, push_input(input, Sum(channels_)));
}

bool TentTable::add_joined(const Scaler& scaler, const std::vector<std::size_t>& inputs) {
  std::vector<Scaler::Map> maps;
  std::vector<float> x;
  for (const std::size_t i : inputs) {
    maps.push_back(scaler.input(i));
    x.insert(x.end(), maps.back().x.begin(), maps.back().x.end());
  }
  std::sort(x.begin(), x.end());
  x.erase(std::unique(x.begin(), x.end()), x.end());

  const std::size_t before = rows_.size();
  const auto bins = static_cast<double>(bins_);
  Maps::Pieces pieces;
  const auto add_piece = [&](float from, double y, double slope, std::int32_t row) {
    pieces.x.push_back(from);
    pieces.y.push_back(static_cast<float>(y));
    pieces.slope.push_back(static_cast<float>(slope));
    pieces.table_rows.push_back(row);
  };
  const auto sum_at = [&](double v) {
    Sum sum(channels_);
    for (std::size_t m = 0; m < maps.size(); ++m) add_value(sum, inputs[m], at(maps[m], v));
    return sum;
  };
  std::map<std::pair<std::size_t, std::vector<double>>, std::int32_t> known;  // by the mover, and what the others are

  for (std::size_t k = 0; k + 1 < x.size(); ++k) {
    const double a = x[k];
    const double b = x[k + 1];
    std::vector<std::size_t> moving;
    std::vector<double> fixed;
    for (std::size_t m = 0; m < maps.size(); ++m) {
      const double from = at(maps[m], a);
      const bool moves = from != at(maps[m], b);
      if (moves) moving.push_back(m);
      fixed.push_back(moves ? -1 : from);
    }
    if (moving.size() <= 1) {
      const std::size_t mover = moving.empty() ? maps.size() : moving.front();
      const auto [entry, first] = known.try_emplace({mover, fixed}, 0);
      if (first) {
        Sum others(channels_);
        for (std::size_t m = 0; m < maps.size(); ++m) {
          if (m != mover) add_value(others, inputs[m], fixed[m]);
        }
        entry->second = moving.empty() ? push(others) : push_input(inputs[mover], others);
      }
      if (moving.empty()) {
        add_piece(x[k], 0, 0, entry->second);
      } else {
        const double from = at(maps[mover], a);
        const double to = at(maps[mover], b);
        add_piece(x[k], from, (to - from) / (b - a), entry->second);
      }
    } else {
      std::vector<float> cuts = {x[k], x[k + 1]};
      for (const std::size_t m : moving) {
        const double from = at(maps[m], a);
        const double to = at(maps[m], b);
        const auto first_tent = static_cast<std::size_t>(std::ceil(from * bins));
        const auto end_tent = static_cast<std::size_t>(std::ceil(to * bins));
        for (std::size_t t = first_tent; t < end_tent; ++t) {
          cuts.push_back(static_cast<float>(a + (b - a) * (static_cast<double>(t) / bins - from) / (to - from)));
        }
      }
      std::sort(cuts.begin(), cuts.end());
      cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
      for (std::size_t c = 0; c < cuts.size(); ++c) {
        const std::int32_t row = push(sum_at(cuts[c]));
        if (c + 1 == cuts.size()) break;
        add_piece(cuts[c], 0, 1 / (bins * (double{cuts[c + 1]} - cuts[c])), row);
      }
    }
    if (rows_.size() - before > max_joined_floats) break;
  }
  add_piece(x.back(), 0, 0, push(sum_at(x.back())));
  Sum missing(channels_);
  for (std::size_t m = 0; m < maps.size(); ++m) add_value(missing, inputs[m], maps[m].missing);
  const std::int32_t missing_row = push(missing);

  const bool holds =
      std::all_of(pieces.slope.begin(), pieces.slope.end(), [](float slope) { return std::isfinite(slope); });
  if (!holds || rows_.size() - before > max_joined_floats) {
    rows_.resize(before);
    return false;
  }
  maps_.add(std::move(pieces), maps.front().reads, 0.0F, 0, missing_row);
  return true;
}

}  // namespace etcc
