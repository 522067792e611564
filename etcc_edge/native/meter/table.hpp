// The open flows: a table whose memory is bounded and whose hash is keyed, since packets come from anybody.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "meter/directions.hpp"
#include "meter/flow.hpp"

namespace etcc::meter {

// What is asked of a table. Times in microseconds.
struct Settings {
  std::int64_t timeout = 0;                           // from a flow's first packet
  std::size_t max_flows = 1;                          // open at once
  std::size_t max_directions = std::size_t{1} << 20;  // remembered of flows whose time is over
  std::uint64_t seed = 0;                             // any number that senders cannot know
  bool gives_lone = false;                            // flows of one packet too
  std::uint32_t after_packets = 0;                    // an early look at an open flow once it has so many; 0: none
  std::int64_t after_time = 0;                        // or once so much time has passed since its first packet; 0: none
};

class FlowTable {
 public:
  FlowTable(const Profile& profile, const Settings& settings);
  FlowTable(const FlowTable&) = delete;
  FlowTable& operator=(const FlowTable&) = delete;

  // The same for both directions.
  std::uint64_t hash(const Packet& packet) const;

  // Fetch from memory what `add` will need: first the one for some packets, then the other, then add them.
  void fetch_cell(std::uint64_t hash) const;
  void fetch_flow(std::uint64_t hash) const;

  // Flows that the packet ends are appended to `finished`, and so are early looks. `number`: the packet's, rising.
  void add(const Packet& packet, std::uint64_t hash, std::uint64_t number, std::vector<Flow>& finished);

  // Ends the flows whose time is over at `clock`. No packet could join them any more. `latest`: the time of the latest
  // packet of late.
  void expire(std::int64_t clock, std::int64_t latest, std::vector<Flow>& finished);

  // Gives the early looks that are due at `clock`.
  void look(std::int64_t clock, std::vector<Flow>& finished);

  // Appends the open flows in order of their first packets, and forgets them.
  void finish(std::vector<Flow>& finished);

  std::size_t open_flows() const { return used_; }
  std::uint64_t evicted() const { return evicted_; }
  std::uint64_t lone() const { return lone_; }  // flows of one packet, given or not

 private:
  using Place = std::uint32_t;
  static constexpr Place no_place = std::numeric_limits<Place>::max();
  static constexpr std::size_t chunk = 1024;  // slots

  struct Slot {
    Flow flow;
    Place before = no_place, after = no_place;  // in the queue; `after` alone among the free
  };
  struct Cell {
    std::uint32_t tag = 0;  // of the flow's hash
    Place place = no_place;
  };

  Slot& slot(Place place) { return chunks_[place / chunk][place % chunk]; }
  const Slot& slot(Place place) const { return chunks_[place / chunk][place % chunk]; }
  bool is_timed_out(const Flow& flow, std::int64_t clock) const;
  bool is_turned(const Packet& packet) const;
  void fetch_slot(Place place) const;
  std::size_t find(const Packet& packet, std::uint64_t hash) const;
  void open(const Packet& packet, std::uint64_t number, std::uint64_t hash);
  void begin(Place place, const Packet& packet, std::uint64_t number, bool reversed);
  void close(std::size_t cell, std::vector<Flow>& finished);
  void close_place(Place place, std::uint64_t hash, std::vector<Flow>& finished);
  void remove(std::size_t cell);
  void evict(std::vector<Flow>& finished);
  void grow();
  void append(Place place);
  void unlink(Place place);
  void give(const Flow& flow, std::vector<Flow>& finished);
  void give_early(Flow& flow, std::vector<Flow>& finished) const;

  Profile profile_;
  Settings settings_;
  std::vector<Cell> cells_;  // by hash, linear probing; a power of two of them
  std::vector<std::unique_ptr<Slot[]>> chunks_;
  Place free_ = no_place;  // first of the free slots
  Place slots_ = 0;        // that were ever used
  Directions directions_;

  // All flows in the order in which they began. No flow before `next_syn_` is a SYN alone, and none before
  // `next_look_` wants an early look at its time.
  Place first_ = no_place, last_ = no_place;
  Place next_syn_ = no_place, next_look_ = no_place;

  std::size_t used_ = 0;
  std::uint64_t evicted_ = 0, lone_ = 0;
};

}  // namespace etcc::meter
