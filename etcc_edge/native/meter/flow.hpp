// A flow as running figures: its memory does not grow with its packets.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "meter/decoder.hpp"
#include "meter/profile.hpp"

namespace etcc::meter {

// As whole words: a comparison of bytes is a call.
inline bool is_same(const Address& a, const Address& b) {
  const auto x = std::bit_cast<std::array<std::uint64_t, 2>>(a);
  const auto y = std::bit_cast<std::array<std::uint64_t, 2>>(b);
  return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

// Mean and variance in the order of operations of commons-math, for equal bits.
class Moments {
 public:
  // `n`: of the values with this one.
  void add(double value, std::uint32_t n) {
    const double count = n;
    const double deviation = value - mean_;
    const double step = deviation / count;
    mean_ += step;
    squares_ += (count - 1) * deviation * step;
  }
  double mean() const { return mean_; }
  double variance(std::uint32_t n) const { return n > 1 ? squares_ / static_cast<double>(n - 1) : 0.0; }

 private:
  double mean_ = 0, squares_ = 0;
};

// What is said of values that were added up.
struct Summary {
  std::int64_t count = 0;
  double sum = 0, mean = 0, min = 0, max = 0, variance = 0;

  double deviation() const { return std::sqrt(variance); }
};

// Of payloads, bytes. 32 bits hold the packets of 35 million a second for two minutes.
class Lengths {
 public:
  void add(std::uint32_t length) {
    ++count_;
    sum_ += length;
    min_ = std::min(min_, length);
    max_ = std::max(max_, length);
    moments_.add(length, count_);
  }
  std::uint32_t count() const { return count_; }
  std::uint64_t sum() const { return sum_; }
  std::uint32_t min() const { return min_; }
  std::uint32_t max() const { return max_; }
  Summary summary() const {
    if (count_ == 0) return {};
    return {.count = count_,
            .sum = static_cast<double>(sum_),
            .mean = moments_.mean(),
            .min = static_cast<double>(min_),
            .max = static_cast<double>(max_),
            .variance = moments_.variance(count_)};
  }

 private:
  std::uint64_t sum_ = 0;
  Moments moments_;
  std::uint32_t count_ = 0, min_ = std::numeric_limits<std::uint32_t>::max(), max_ = 0;

 public:
  std::uint32_t data_packets = 0;  // but for the flow's first; here for want of a place that costs nothing
};

// Of times, microseconds. Others know their number and sum.
class Times {
 public:
  void add(std::int64_t time, std::uint32_t n) {
    const auto value = static_cast<double>(time);
    min_ = std::min(min_, value);
    max_ = std::max(max_, value);
    moments_.add(value, n);
  }
  Summary summary(std::uint32_t n, std::int64_t sum = 0) const {
    if (n == 0) return {};
    return {.count = n,
            .sum = static_cast<double>(sum),
            .mean = moments_.mean(),
            .min = min_,
            .max = max_,
            .variance = moments_.variance(n)};
  }

 private:
  Moments moments_;
  double min_ = std::numeric_limits<double>::infinity(), max_ = -min_;
};

struct Direction {
  Lengths lengths;
  Times gaps;
  std::int64_t last = 0;
  std::uint64_t header_bytes = 0;
};

// At most 480 bytes, for a million of them are open at a time: counts of packets take 32 bits, and what follows from
// other figures has no place.
class Flow {
 public:
  Flow() = default;

  // `reversed`: the packet's target is the flow's source, as where a flow takes the place of one whose time is over.
  // The first packet counts as forward all the same, but where that is corrected.
  Flow(const Packet& packet, const Profile& profile, bool reversed);

  static constexpr std::uint8_t no_header = 255;

  bool is_forward(const Packet& packet) const { return is_same(packet.source, source); }
  void add(const Packet& packet, const Profile& profile);

  // Before `add`, where the packet does not end the flow.
  void note_activity(std::int64_t time, const Profile& profile);

  std::int64_t packets() const { return std::int64_t{forward.lengths.count()} + backward.lengths.count(); }
  bool is_full() const {
    return std::max(forward.lengths.count(), backward.lengths.count()) == std::numeric_limits<std::uint32_t>::max();
  }
  std::int64_t bytes() const { return static_cast<std::int64_t>(forward.lengths.sum() + backward.lengths.sum()); }
  std::int64_t last() const { return last_is_forward ? forward.last : backward.last; }
  std::int64_t duration() const {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(last()) - static_cast<std::uint64_t>(start));
  }
  // Moves an ended flow in time; its durations stay.
  void shift(std::int64_t step) {
    for (std::int64_t* time : {&start, &other_start, &forward.last, &backward.last}) *time += step;
  }
  Summary lengths(const Profile& profile) const;  // of all payloads; the first one counts twice in CICFlowMeter
  Summary gaps() const { return gaps_.summary(static_cast<std::uint32_t>(packets() - 1)); }
  Summary forward_gaps() const { return gaps_of(forward, first_is_forward ? start : other_start); }
  Summary backward_gaps() const { return gaps_of(backward, first_is_forward ? other_start : start); }
  Summary active() const { return active_.summary(actives_); }
  Summary idle() const { return idle_.summary(idles_); }

  Address source{}, target{};
  std::uint16_t source_port = 0, target_port = 0;
  std::uint8_t protocol = 0, version = 4;
  std::uint8_t least_header = no_header;  // of the forward packets
  bool fin_forward : 1 = false;
  bool fin_backward : 1 = false;
  bool is_over : 1 = false;       // the next SYN begins another flow
  bool is_bare_syn : 1 = false;   // one SYN alone
  bool is_looked_at : 1 = false;  // a copy of it was given early
  bool is_early : 1 = false;      // it is such a copy, of a flow that was open
  bool first_is_forward : 1 = true;
  bool last_is_forward : 1 = true;
  std::uint16_t first_window = 0, last_backward_window = 0;
  std::uint32_t first_payload = 0;
  std::int64_t start = 0, other_start = 0;  // microseconds; of the first packet, and of the first the other way
  std::uint64_t number = 0;                 // of its first packet
  Direction forward, backward;

 private:
  void note(const Packet& packet, const Profile& profile, std::int64_t before);
  void note_bulk(const Packet& packet);
  void note_header(const Packet& packet, const Profile& profile, Direction& direction);

  static Summary gaps_of(const Direction& direction, std::int64_t first) {
    return direction.gaps.summary(std::max(direction.lengths.count(), 1U) - 1, direction.last - first);
  }

  // Wraps round, as Java's sum does: clocks that jump back and forth may exceed 64 bits.
  void lengthen_bulks(std::int64_t time) {
    bulk_duration =
        static_cast<std::int64_t>(static_cast<std::uint64_t>(bulk_duration) + static_cast<std::uint64_t>(time));
  }

  Moments lengths_;
  Times gaps_, active_, idle_;
  std::uint32_t actives_ = 0, idles_ = 0;
  std::int64_t active_start_ = 0, active_end_ = 0;
  std::int64_t bulk_start_ = 0, bulk_last_ = 0;
  std::uint32_t open_bulk_packets_ : 3 = 0, open_bulk_bytes_ : 29 = 0;

 public:
  std::array<std::uint32_t, 8> flags{};  // packets with each bit of TCP's flags
  std::uint32_t forward_pushes = 0, forward_urgents = 0;
  std::uint32_t subflows = 0;
  std::uint32_t bulks = 0, bulk_packets = 0;
  std::uint64_t bulk_bytes = 0;
  std::int64_t bulk_duration = 0;
};

static_assert(sizeof(Flow) <= 480);

}  // namespace etcc::meter
