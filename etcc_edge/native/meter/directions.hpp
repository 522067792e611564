// Which way flows went whose time is over. The Java meter keeps them for ever, and a flow in their place goes the same
// way, whoever sends its first packet. Here the oldest are forgotten when there are too many.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace etcc::meter {

class Directions {
 public:
  // Room for about `flows` of them, taken when the first one comes.
  explicit Directions(std::size_t flows) : sets_wanted_(std::bit_ceil(std::min(flows, most) / Set{}.size() + 1)) {}

  // `hash`: of the flow, the same for both ways.
  void keep(std::uint64_t hash, bool way) {
    if (sets_.empty()) sets_.resize(sets_wanted_);
    Set& set = set_of(hash);
    std::shift_right(set.begin(), set.end(), 1);
    set.front() = entry(hash, way);
  }

  // The way, which is forgotten; nothing where none was kept.
  std::optional<bool> take(std::uint64_t hash) {
    if (sets_.empty()) return std::nullopt;
    Set& set = set_of(hash);
    const auto place =
        std::ranges::find_if(set, [hash](std::uint64_t kept) { return (kept | 1) == entry(hash, true); });
    if (place == set.end()) return std::nullopt;
    const bool way = *place & 1;
    std::shift_left(place, set.end(), 1);
    set.back() = 0;
    return way;
  }

 private:
  using Set = std::array<std::uint64_t, 8>;  // newest first; 0: none
  static constexpr std::size_t most = std::size_t{1} << 20;

  static std::uint64_t entry(std::uint64_t hash, bool way) { return (hash & ~std::uint64_t{1}) | (way ? 1 : 0); }
  Set& set_of(std::uint64_t hash) { return sets_[hash >> 32 & (sets_.size() - 1)]; }

  std::size_t sets_wanted_;
  std::vector<Set> sets_;
};

}  // namespace etcc::meter
