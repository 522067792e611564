// Bytes of a capture in, flows out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <vector>

#include "meter/capture.hpp"
#include "meter/decoder.hpp"
#include "meter/table.hpp"
#include "threads/pool.hpp"

namespace etcc::meter {

class Meter {
 public:
  // `strict`: as the Java meter. It ends no flow before a packet of the flow comes or the capture is over. With more
  // than one of `threads`, each flow belongs to one of them, and `max_flows` is shared out. The flows and their order
  // are the same, unless some are evicted.
  Meter(const Profile& profile, const Settings& settings, bool strict, std::size_t threads);

  void feed(Bytes bytes);

  // A frame that is not of a capture's bytes. It is not looked at later than `settle`.
  void add(const Frame& frame);

  // Ends what the packets so far end.
  void settle();

  // Time has passed without packets: `clock` in microseconds.
  void expire(std::int64_t clock);

  // The capture is over, and so are the flows.
  void finish();

  // The flows that ended since the last `take`, and how many there are. Several threads are a piece behind `feed`.
  std::size_t ended() const;
  std::vector<Flow> take();

  const CaptureReader& capture() const { return capture_; }
  std::size_t open_flows() const;
  std::uint64_t evicted() const;
  std::uint64_t lone() const;  // flows of one packet, given or not
  std::uint64_t frames() const { return frames_; }
  const std::array<std::uint64_t, skip_reasons>& skips() const { return skips_; }

 private:
  struct Item {
    Packet packet;
    std::uint64_t hash = 0, number = 0;
  };
  // What all tables do before they take the packet of that number.
  struct Tick {
    std::uint64_t number = 0;
    std::int64_t look = no_clock, expire = no_clock;
    std::int64_t latest = 0;  // with `expire`
  };
  // The order within the step of a packet.
  enum class Phase : std::uint8_t { look, expire, add, finish };
  static constexpr std::uint64_t phases = 4;
  struct Shard {
    Shard(const Profile& profile, const Settings& settings) : table(profile, settings) {}

    // When the flows were finished that have no such note yet.
    void note(std::uint64_t number, Phase phase);

    FlowTable table;
    std::vector<Item> filling, items;  // being read, and at work
    std::vector<Flow> finished;
    std::vector<std::uint64_t> steps;  // of each of them
  };
  static constexpr std::int64_t no_clock = std::numeric_limits<std::int64_t>::min();

  void take_in(const Frame& frame);
  void pass(std::int64_t time);
  void hand_over();
  void work(Shard& shard);

  bool strict_;
  bool looks_;
  std::int64_t most_lag_;  // microseconds
  CaptureReader capture_;
  std::deque<Shard> shards_;
  Pool pool_;
  std::vector<Tick> filling_ticks_, ticks_;
  std::int64_t last_time_ = 0;
  std::size_t in_block_ = 0;  // packets of the block
  std::int64_t earliest_ = 0, latest_ = 0;
  std::int64_t newest_;  // of the blocks before
  std::int64_t lag_ = 0;
  std::size_t taken_in_ = 0;  // packets, since the last were handed over
  std::uint64_t frames_ = 0;
  std::uint64_t number_ = 0;  // of frames and of calls that end flows
  std::array<std::uint64_t, skip_reasons> skips_{};
};

}  // namespace etcc::meter
