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
  // Room for about `most` of them, taken when the first one comes.
  explicit Directions(std::size_t most) : sets_wanted_(std::bit_ceil(std::max<std::size_t>(most / set_size, 1))) {}

  // From memory, what `take` will need.
  void fetch(std::uint64_t hash) const {
    if (!sets_.empty()) __builtin_prefetch(&sets_[place(hash)]);
  }

  // `hash`: of the flow, the same for both ways.
  void keep(std::uint64_t hash, bool way) {
    if (sets_.empty()) sets_.resize(sets_wanted_);
    auto& kept = sets_[place(hash)].kept;
    std::shift_right(kept.begin(), kept.end(), 1);
    kept.front() = entry(hash, way);
  }

  // The way, which is forgotten; nothing where none was kept.
  std::optional<bool> take(std::uint64_t hash) {
    if (sets_.empty()) return std::nullopt;
    auto& kept = sets_[place(hash)].kept;
    const auto own = std::ranges::find_if(kept, [hash](std::uint64_t one) { return (one | 1) == entry(hash, true); });
    if (own == kept.end()) return std::nullopt;
    const bool way = *own & 1;
    std::shift_left(own, kept.end(), 1);
    kept.back() = 0;
    return way;
  }

 private:
  static constexpr std::size_t set_size = 8;
  struct alignas(64) Set {
    std::array<std::uint64_t, set_size> kept{};  // newest first; 0: none
  };

  static std::uint64_t entry(std::uint64_t hash, bool way) { return (hash & ~std::uint64_t{1}) | (way ? 1 : 0); }
  std::size_t place(std::uint64_t hash) const { return hash >> 32 & (sets_.size() - 1); }

  std::size_t sets_wanted_;
  std::vector<Set> sets_;
};

}  // namespace etcc::meter
