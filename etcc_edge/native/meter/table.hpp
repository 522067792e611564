// The open flows: a table whose memory is bounded and whose hash is keyed, since packets come from anybody.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "meter/flow.hpp"

namespace etcc::meter {

class FlowTable {
 public:
  // At most `max_flows` flows are open. `seed` is any number that senders cannot know.
  FlowTable(const Profile& profile, std::int64_t timeout, std::size_t max_flows, std::uint64_t seed);

  // A flow that the packet ends is appended to `finished`.
  void add(const Packet& packet, std::vector<Flow>& finished);

  // Appends the open flows in order of their first packets, and forgets them.
  void finish(std::vector<Flow>& finished);

  std::uint64_t evicted() const { return evicted_; }
  std::uint64_t lone() const { return lone_; }  // flows of one packet, which are not given

 private:
  using Place = std::uint32_t;
  static constexpr Place no_place = std::numeric_limits<Place>::max();

  struct Slot {
    Flow flow;
    std::uint64_t hash = 0;
    Place before = no_place, after = no_place;  // in the slot's queue
    bool is_bare_syn = false;
  };
  struct Queue {
    Place first = no_place, last = no_place;
  };

  std::uint64_t hash(const Packet& packet) const;
  std::size_t find(const Packet& packet, std::uint64_t hash) const;
  void open(const Packet& packet, std::uint64_t hash);
  void close(std::size_t cell, std::vector<Flow>& finished);
  void remove(std::size_t cell);
  void evict(std::vector<Flow>& finished);
  void grow();
  Queue& queue_of(const Slot& slot) { return slot.is_bare_syn ? bare_syns_ : others_; }
  void append(Place place);
  void unlink(Place place);
  void give(const Flow& flow, std::vector<Flow>& finished);

  Profile profile_;
  std::int64_t timeout_;  // microseconds
  std::size_t max_flows_;
  std::uint64_t seed_;
  std::vector<Place> cells_;  // by hash, linear probing; a power of two of them
  std::vector<Slot> slots_;
  std::vector<Place> free_;
  Queue bare_syns_, others_;  // of one SYN alone, and the rest
  std::size_t used_ = 0;
  std::uint64_t flows_ = 0, evicted_ = 0, lone_ = 0;
};

}  // namespace etcc::meter
