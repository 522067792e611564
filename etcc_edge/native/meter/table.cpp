#include "meter/table.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

namespace etcc::meter {

namespace {

constexpr std::size_t first_cells = 1024;
constexpr int most_moved = 64;  // flows whose clock is not the others', in one search for what is over

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t end_hash(const Address& address, std::uint16_t port, std::uint64_t seed) {
  std::uint64_t halves[2];
  std::memcpy(halves, address.data(), sizeof halves);
  const std::uint64_t first = mix(halves[0] ^ seed, port + 0x9e3779b97f4a7c15);
  // No factor that a plausible seed turns into 0 or 1, with which all hashes would be equal.
  return mix(first ^ halves[1], seed ^ 0xbf58476d1ce4e5b9) ^ first;
}

// Of a packet or a flow; the same for both directions.
template <class Ends>
std::uint64_t hash_of(const Ends& ends, std::uint64_t seed) {
  const std::uint64_t source = end_hash(ends.source, ends.source_port, seed);
  const std::uint64_t target = end_hash(ends.target, ends.target_port, seed);
  return mix(source + target + ends.protocol, (source ^ target ^ seed) | 1);
}

// One of the two directions between two ends.
template <class Ends>
bool way_of(const Ends& ends) {
  return std::tie(ends.source, ends.source_port) < std::tie(ends.target, ends.target_port);
}

bool is_same_way(const Packet& packet, const Flow& flow) {
  return packet.source_port == flow.source_port && packet.target_port == flow.target_port &&
         is_same(packet.source, flow.source) && is_same(packet.target, flow.target);
}

bool is_other_way(const Packet& packet, const Flow& flow) {
  return packet.source_port == flow.target_port && packet.target_port == flow.source_port &&
         is_same(packet.source, flow.target) && is_same(packet.target, flow.source);
}

bool belongs(const Packet& packet, const Flow& flow) {
  return packet.protocol == flow.protocol && packet.version == flow.version &&
         (is_same_way(packet, flow) || is_other_way(packet, flow));
}

}  // namespace

FlowTable::FlowTable(const Profile& profile, const Settings& settings)
    : profile_(profile), settings_(settings), cells_(first_cells), directions_(settings.max_directions) {
  settings_.max_flows = std::clamp<std::size_t>(settings.max_flows, 1, no_place - 1);
}

// The cell of the packet's flow, or the free cell where one would go.
std::size_t FlowTable::find(const Packet& packet, std::uint64_t hash) const {
  const std::size_t mask = cells_.size() - 1;
  const auto tag = static_cast<std::uint32_t>(hash);
  std::size_t cell = hash & mask;
  while (cells_[cell].place != no_place &&
         (cells_[cell].tag != tag || !belongs(packet, slot(cells_[cell].place).flow))) {
    cell = (cell + 1) & mask;
  }
  return cell;
}

std::uint64_t FlowTable::hash(const Packet& packet) const { return hash_of(packet, settings_.seed); }

void FlowTable::fetch_cell(std::uint64_t hash) const { __builtin_prefetch(&cells_[hash & (cells_.size() - 1)]); }

void FlowTable::fetch_flow(std::uint64_t hash) const {
  const Place place = cells_[hash & (cells_.size() - 1)].place;
  if (place != no_place) {
    fetch_slot(place);
  } else {
    directions_.fetch(hash);
  }
}

void FlowTable::fetch_slot(Place place) const {
  const auto* bytes = reinterpret_cast<const std::byte*>(&slot(place));
  for (std::size_t line = 0; line < sizeof(Slot); line += 64) __builtin_prefetch(bytes + line, 1);
}

void FlowTable::add(const Packet& packet, std::uint64_t hash, std::uint64_t number, std::vector<Flow>& finished) {
  const std::size_t cell = find(packet, hash);
  if (cells_[cell].place == no_place) {
    if (used_ == settings_.max_flows) evict(finished);
    open(packet, number, hash);
    return;
  }
  const Place place = cells_[cell].place;
  Flow& flow = slot(place).flow;
  const bool is_next = flow.is_over && (packet.flags & syn_flag) != 0;
  if (is_next || is_timed_out(flow, packet.time) || flow.is_full()) {
    give(flow, finished);
    unlink(place);
    begin(place, packet, number, is_next ? is_turned(packet) : !is_same_way(packet, flow));
    return;
  }
  const bool is_old = settings_.after_time != 0 && packet.time - flow.start >= settings_.after_time;
  if (is_old) give_early(flow, finished);
  flow.is_bare_syn = false;
  const bool fin = packet.flags & fin_flag;
  const bool rst = packet.flags & rst_flag;
  const bool forward_fin = fin && flow.is_forward(packet);
  bool ends = false;
  switch (profile_.end) {
    case End::any_fin: ends = fin; break;
    case End::server_fin_or_rst:
      if (forward_fin && flow.fin_forward) return;  // Java drops a second one
      ends = fin ? !forward_fin : rst;
      break;
    case End::next_syn: flow.is_over |= rst || (forward_fin ? flow.fin_backward : fin && flow.fin_forward); break;
  }
  flow.fin_forward |= forward_fin;
  flow.fin_backward |= fin && !forward_fin;
  if (!ends) flow.note_activity(packet.time, profile_);
  flow.add(packet, profile_);
  if (ends) {
    close(cell, finished);
  } else if (is_old || flow.packets() == settings_.after_packets) {
    give_early(flow, finished);
  }
}

// Where it is corrected, UDP's timeout counts from the last packet.
bool FlowTable::is_timed_out(const Flow& flow, std::int64_t clock) const {
  const bool idles = profile_.is_corrected && flow.protocol == udp_protocol;
  return clock - (idles ? flow.last() : flow.start) > settings_.timeout;
}

// Whether the first packet that is seen answers one that is not.
bool FlowTable::is_turned(const Packet& packet) const {
  return profile_.is_corrected && (packet.flags & (syn_flag | ack_flag)) == (syn_flag | ack_flag);
}

void FlowTable::open(const Packet& packet, std::uint64_t number, std::uint64_t hash) {
  if ((used_ + 1) * 2 > cells_.size()) grow();
  Place place = free_;
  if (place != no_place) {
    free_ = slot(place).after;
  } else {
    place = slots_++;
    if (place % chunk == 0) chunks_.push_back(std::make_unique<Slot[]>(chunk));
  }
  const std::optional<bool> way = directions_.take(hash);
  begin(place, packet, number, way ? *way != way_of(packet) : is_turned(packet));
  const std::size_t mask = cells_.size() - 1;
  std::size_t cell = hash & mask;
  while (cells_[cell].place != no_place) cell = (cell + 1) & mask;
  cells_[cell] = {.tag = static_cast<std::uint32_t>(hash), .place = place};
  ++used_;
}

void FlowTable::begin(Place place, const Packet& packet, std::uint64_t number, bool reversed) {
  Slot& own = slot(place);
  std::construct_at(&own.flow, packet, profile_, reversed);
  own.flow.number = number;
  own.flow.is_bare_syn = packet.protocol == tcp_protocol && (packet.flags & (syn_flag | ack_flag)) == syn_flag;
  append(place);
}

void FlowTable::grow() {
  std::vector<Cell> cells(cells_.size() * 2);
  const std::size_t mask = cells.size() - 1;
  for (const Cell& old : cells_) {
    if (old.place == no_place) continue;
    std::size_t cell = old.tag & mask;
    while (cells[cell].place != no_place) cell = (cell + 1) & mask;
    cells[cell] = old;
  }
  cells_ = std::move(cells);
}

void FlowTable::give(const Flow& flow, std::vector<Flow>& finished) {
  const bool is_lone = flow.packets() == 1;
  lone_ += is_lone;
  if (!is_lone || settings_.gives_lone) finished.push_back(flow);
}

// Once a flow, and not before its second packet.
void FlowTable::give_early(Flow& flow, std::vector<Flow>& finished) const {
  if (flow.is_looked_at || flow.packets() == 1) return;
  flow.is_looked_at = true;
  finished.push_back(flow);
  finished.back().is_early = true;
}

void FlowTable::close(std::size_t cell, std::vector<Flow>& finished) {
  give(slot(cells_[cell].place).flow, finished);
  remove(cell);
}

void FlowTable::close_place(Place place, std::uint64_t hash, std::vector<Flow>& finished) {
  const std::size_t mask = cells_.size() - 1;
  std::size_t cell = hash & mask;
  while (cells_[cell].place != place) cell = (cell + 1) & mask;
  close(cell, finished);
}

// Flows behind the freed cell move up, so that a search needs no marks of what was there.
void FlowTable::remove(std::size_t cell) {
  const Place place = cells_[cell].place;
  unlink(place);
  slot(place).after = free_;
  free_ = place;
  --used_;
  const std::size_t mask = cells_.size() - 1;
  std::size_t hole = cell;
  for (std::size_t next = (hole + 1) & mask; cells_[next].place != no_place; next = (next + 1) & mask) {
    const std::size_t home = cells_[next].tag & mask;
    if (((next - home) & mask) >= ((next - hole) & mask)) {
      cells_[hole] = cells_[next];
      hole = next;
    }
  }
  cells_[hole] = {};
}

void FlowTable::evict(std::vector<Flow>& finished) {
  while (next_syn_ != no_place && !slot(next_syn_).flow.is_bare_syn) next_syn_ = slot(next_syn_).after;
  const Place place = next_syn_ != no_place ? next_syn_ : first_;
  ++evicted_;
  close_place(place, hash_of(slot(place).flow, settings_.seed), finished);
}

void FlowTable::expire(std::int64_t clock, std::int64_t latest, std::vector<Flow>& finished) {
  struct Over {
    Place place;
    std::uint64_t hash;
  };
  std::array<Over, 16> over;  // as many as are fetched from memory at a time
  int moved = 0;
  while (first_ != no_place) {
    std::size_t count = 0;
    Place place = first_;
    while (place != no_place && count < over.size() && is_timed_out(slot(place).flow, clock)) {
      fetch_slot(place);
      const std::uint64_t hash = hash_of(slot(place).flow, settings_.seed);
      fetch_cell(hash);
      directions_.fetch(hash);
      over[count++] = {.place = place, .hash = hash};
      place = slot(place).after;
    }
    for (std::size_t i = 0; i < count; ++i) {
      directions_.keep(over[i].hash, way_of(slot(over[i].place).flow));
      close_place(over[i].place, over[i].hash, finished);
    }
    if (count > 0) continue;
    // A clock that jumped must not keep the flows behind for ever, nor a flow that goes on beyond its timeout.
    const std::int64_t start = slot(first_).flow.start;
    const bool keeps = clock - start > settings_.timeout || start - latest > settings_.timeout;
    if (!keeps || ++moved > most_moved) break;
    place = first_;
    unlink(place);
    append(place);
  }
}

void FlowTable::look(std::int64_t clock, std::vector<Flow>& finished) {
  if (settings_.after_time == 0) return;
  for (; next_look_ != no_place; next_look_ = slot(next_look_).after) {
    Flow& flow = slot(next_look_).flow;
    const std::int64_t age = clock - flow.start;
    if (age >= settings_.after_time) {
      give_early(flow, finished);
    } else if (age >= -settings_.timeout) {
      break;
    }
  }
}

void FlowTable::append(Place place) {
  Slot& own = slot(place);
  own.before = last_;
  own.after = no_place;
  (last_ == no_place ? first_ : slot(last_).after) = place;
  last_ = place;
  for (Place* next : {&next_syn_, &next_look_}) {
    if (*next == no_place) *next = place;
  }
}

void FlowTable::unlink(Place place) {
  const Slot& own = slot(place);
  (own.before == no_place ? first_ : slot(own.before).after) = own.after;
  (own.after == no_place ? last_ : slot(own.after).before) = own.before;
  for (Place* next : {&next_syn_, &next_look_}) {
    if (*next == place) *next = own.after;
  }
}

void FlowTable::finish(std::vector<Flow>& finished) {
  std::vector<Place> places;
  for (Place place = first_; place != no_place; place = slot(place).after) places.push_back(place);
  std::ranges::sort(places, {}, [this](Place place) { return slot(place).flow.number; });
  for (const Place place : places) give(slot(place).flow, finished);
  std::ranges::fill(cells_, Cell{});
  chunks_.clear();
  slots_ = 0;
  free_ = first_ = last_ = next_syn_ = next_look_ = no_place;
  used_ = 0;
}

}  // namespace etcc::meter
