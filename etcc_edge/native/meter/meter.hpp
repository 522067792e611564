// Bytes of a capture in, flows out.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "meter/capture.hpp"
#include "meter/decoder.hpp"
#include "meter/table.hpp"

namespace etcc::meter {

class Meter {
 public:
  // `strict`: as the Java meter. It ends no flow before a packet of the flow comes or the capture is over.
  Meter(const Profile& profile, const Settings& settings, bool strict) : strict_(strict), table_(profile, settings) {}

  void feed(Bytes bytes) {
    capture_.feed(bytes);
    for (Frame frame; capture_.next(frame);) add(frame);
  }

  void add(const Frame& frame) {
    ++frames_;
    Packet packet;
    const Skip skip = decode(frame, strict_, packet);
    ++skips_[static_cast<std::size_t>(skip)];
    if (skip != Skip::none) return;
    pass(packet.time);
    table_.add(packet, frames_, finished_);
  }

  // Time has passed without packets: `clock` in microseconds.
  void expire(std::int64_t clock) {
    table_.expire(clock, finished_);
    table_.look(clock, finished_);
  }

  // The capture is over, and so are the flows.
  void finish() {
    capture_.finish();
    table_.finish(finished_);
  }

  // The flows that ended since the last `take`, and how many there are.
  std::size_t ended() const { return finished_.size(); }
  std::vector<Flow> take() { return std::exchange(finished_, {}); }

  const CaptureReader& capture() const { return capture_; }
  const FlowTable& table() const { return table_; }
  std::uint64_t frames() const { return frames_; }
  const std::array<std::uint64_t, skip_reasons>& skips() const { return skips_; }

 private:
  static constexpr std::size_t block = 64;  // packets

  // The packets' clock. Clocks jump, and captures are joined out of order: only a whole block of packets ends flows,
  // and one packet alone never makes another flow old.
  void pass(std::int64_t time) {
    table_.look(std::min(time, std::exchange(last_time_, time)), finished_);
    if (strict_) return;
    block_time_ = std::min(block_time_, time);
    if (++in_block_ < block) return;
    table_.expire(block_time_, finished_);
    block_time_ = std::numeric_limits<std::int64_t>::max();
    in_block_ = 0;
  }

  bool strict_;
  CaptureReader capture_;
  FlowTable table_;
  std::vector<Flow> finished_;
  std::int64_t last_time_ = 0;
  std::int64_t block_time_ = std::numeric_limits<std::int64_t>::max();  // the earliest of the block's packets
  std::size_t in_block_ = 0;
  std::uint64_t frames_ = 0;
  std::array<std::uint64_t, skip_reasons> skips_{};
};

}  // namespace etcc::meter
