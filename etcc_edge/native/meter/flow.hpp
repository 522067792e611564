// A flow as running figures: its memory does not grow with its packets.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "meter/decoder.hpp"
#include "meter/profile.hpp"

namespace etcc::meter {

// Sum, mean, variance, least and most in the order of operations of commons-math, for equal bits.
class Statistics {
 public:
  void add(double value) {
    min_ = count_ == 0 ? value : std::min(min_, value);
    max_ = count_ == 0 ? value : std::max(max_, value);
    ++count_;
    const auto n = static_cast<double>(count_);
    const double deviation = value - mean_;
    const double step = deviation / n;
    sum_ += value;
    mean_ += step;
    squares_ += (n - 1) * deviation * step;
  }

  std::int64_t count() const { return count_; }
  double sum() const { return sum_; }
  double mean() const { return mean_; }
  double min() const { return min_; }
  double max() const { return max_; }
  double variance() const { return count_ > 1 ? squares_ / static_cast<double>(count_ - 1) : 0.0; }
  double deviation() const { return std::sqrt(variance()); }

 private:
  std::int64_t count_ = 0;
  double sum_ = 0, mean_ = 0, squares_ = 0, min_ = 0, max_ = 0;
};

struct Direction {
  Statistics lengths;  // of payloads, bytes
  Statistics gaps;     // microseconds
  std::int64_t last = 0;
  std::int64_t header_bytes = 0;
};

class Flow {
 public:
  Flow() = default;
  // `reversed`: the packet's target is the flow's source, as where a flow takes the place of one whose time is over.
  // The first packet counts as forward all the same.
  Flow(const Packet& packet, const Profile& profile, bool reversed);

  bool is_forward(const Packet& packet) const { return packet.source == source; }
  void add(const Packet& packet, const Profile& profile);

  // Before `add`, where the packet does not end the flow.
  void note_activity(std::int64_t time);

  std::int64_t packets() const { return forward.lengths.count() + backward.lengths.count(); }
  std::int64_t bytes() const { return static_cast<std::int64_t>(forward.lengths.sum() + backward.lengths.sum()); }
  std::int64_t duration() const {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(last) - static_cast<std::uint64_t>(start));
  }

  Address source{}, target{};
  std::uint16_t source_port = 0, target_port = 0;
  std::uint8_t version = 4, protocol = 0;
  bool fin_forward = false;
  bool is_looked_at = false;  // a copy of it was given early
  bool is_early = false;      // it is such a copy, of a flow that was open
  bool forward_push = false, forward_urgent = false;
  std::uint16_t first_window = 0, last_backward_window = 0;
  std::int64_t start = 0, last = 0;  // microseconds
  std::uint64_t number = 0;          // of its first packet
  Direction forward, backward;
  Statistics lengths, gaps, active, idle;
  std::array<std::int64_t, 8> flags{};  // packets with each bit of TCP's flags
  std::int64_t forward_data_packets = 0;
  std::uint32_t least_header = 0;
  std::int64_t subflows = 0;
  std::int64_t bulks = 0, bulk_packets = 0, bulk_bytes = 0, bulk_duration = 0;

 private:
  void note(const Packet& packet, const Profile& profile);
  void note_bulk(const Packet& packet);

  // Wraps round, as Java's sum does: clocks that jump back and forth may exceed 64 bits.
  void lengthen_bulks(std::int64_t time) {
    bulk_duration =
        static_cast<std::int64_t>(static_cast<std::uint64_t>(bulk_duration) + static_cast<std::uint64_t>(time));
  }

  std::int64_t active_start_ = 0, active_end_ = 0;
  std::int64_t subflow_last_ = -1;
  std::int64_t bulk_start_ = 0, bulk_last_ = 0, open_bulk_packets_ = 0, open_bulk_bytes_ = 0;
};

}  // namespace etcc::meter
