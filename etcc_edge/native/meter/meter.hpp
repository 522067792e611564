// Bytes of a capture in, flows out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "meter/capture.hpp"
#include "meter/decoder.hpp"
#include "meter/table.hpp"

namespace etcc::meter {

class Meter {
 public:
  // `timeout`: microseconds from a flow's first packet.
  Meter(const Profile& profile, std::int64_t timeout, bool strict, std::size_t max_flows, std::uint64_t seed)
      : strict_(strict), table_(profile, timeout, max_flows, seed) {}

  void feed(Bytes bytes) {
    capture_.feed(bytes);
    Packet packet;
    for (Frame frame; capture_.next(frame);) {
      ++frames_;
      const Skip skip = decode(frame, strict_, packet);
      ++skips_[static_cast<std::size_t>(skip)];
      if (skip == Skip::none) table_.add(packet, finished_);
    }
  }

  // The capture is over, and so are the flows.
  void finish() {
    capture_.finish();
    table_.finish(finished_);
  }

  // The flows that ended since the last call.
  std::vector<Flow> take() { return std::exchange(finished_, {}); }

  const CaptureReader& capture() const { return capture_; }
  const FlowTable& table() const { return table_; }
  std::uint64_t frames() const { return frames_; }
  const std::array<std::uint64_t, skip_reasons>& skips() const { return skips_; }

 private:
  bool strict_;
  CaptureReader capture_;
  FlowTable table_;
  std::vector<Flow> finished_;
  std::uint64_t frames_ = 0;
  std::array<std::uint64_t, skip_reasons> skips_{};
};

}  // namespace etcc::meter
