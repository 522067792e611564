#include "meter/table.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace etcc::meter {

namespace {

constexpr std::size_t first_cells = 1024;

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t end_hash(const Address& address, std::uint16_t port, std::uint64_t seed) {
  std::uint64_t halves[2];
  std::memcpy(halves, address.data(), sizeof halves);
  const std::uint64_t first = mix(halves[0] ^ seed, port + 0x9e3779b97f4a7c15);
  return mix(first ^ halves[1], seed | 1) ^ first;
}

bool belongs(const Packet& packet, const Flow& flow) {
  if (packet.protocol != flow.protocol || packet.version != flow.version) return false;
  if (packet.source == flow.source && packet.source_port == flow.source_port && packet.target == flow.target &&
      packet.target_port == flow.target_port) {
    return true;
  }
  return packet.source == flow.target && packet.source_port == flow.target_port && packet.target == flow.source &&
         packet.target_port == flow.source_port;
}

}  // namespace

FlowTable::FlowTable(const Profile& profile, std::int64_t timeout, std::size_t max_flows, std::uint64_t seed)
    : profile_(profile),
      timeout_(timeout),
      max_flows_(std::max<std::size_t>(max_flows, 1)),
      seed_(seed),
      cells_(first_cells, no_place) {}

// The same for both directions.
std::uint64_t FlowTable::hash(const Packet& packet) const {
  const std::uint64_t source = end_hash(packet.source, packet.source_port, seed_);
  const std::uint64_t target = end_hash(packet.target, packet.target_port, seed_);
  return mix(source + target + packet.protocol, (source ^ target ^ seed_) | 1);
}

// The cell of the packet's flow, or the free cell where one would go.
std::size_t FlowTable::find(const Packet& packet, std::uint64_t hash) const {
  const std::size_t mask = cells_.size() - 1;
  std::size_t cell = hash & mask;
  while (cells_[cell] != no_place) {
    const Slot& slot = slots_[cells_[cell]];
    if (slot.hash == hash && belongs(packet, slot.flow)) break;
    cell = (cell + 1) & mask;
  }
  return cell;
}

void FlowTable::add(const Packet& packet, std::vector<Flow>& finished) {
  const std::uint64_t key = hash(packet);
  const std::size_t cell = find(packet, key);
  if (cells_[cell] == no_place) {
    if (used_ == max_flows_) evict(finished);
    open(packet, key);
    return;
  }
  const Place place = cells_[cell];
  Slot& slot = slots_[place];
  Flow& flow = slot.flow;
  if (slot.is_bare_syn) {
    unlink(place);
    slot.is_bare_syn = false;
    append(place);
  }
  if (packet.time - flow.start > timeout_) {
    give(flow, finished);
    flow = Flow(packet, profile_, Flow(flow));
    flow.number = flows_++;
    unlink(place);
    append(place);
    return;
  }
  const bool fin = packet.flags & fin_flag;
  bool ends = fin;
  if (!profile_.any_fin_ends) {
    const bool forward_fin = fin && flow.is_forward(packet);
    if (forward_fin && std::exchange(flow.fin_forward, true)) return;  // Java drops a second one
    ends = fin ? !forward_fin : (packet.flags & rst_flag) != 0;
  }
  if (!ends) flow.note_activity(packet.time);
  flow.add(packet, profile_);
  if (ends) close(cell, finished);
}

void FlowTable::open(const Packet& packet, std::uint64_t hash) {
  if ((used_ + 1) * 2 > cells_.size()) grow();
  Place place = static_cast<Place>(slots_.size());
  if (free_.empty()) {
    slots_.emplace_back();
  } else {
    place = free_.back();
    free_.pop_back();
  }
  Slot& slot = slots_[place];
  slot.flow = Flow(packet, profile_);
  slot.flow.number = flows_++;
  slot.hash = hash;
  slot.is_bare_syn = packet.protocol == tcp_protocol && (packet.flags & (syn_flag | ack_flag)) == syn_flag;
  append(place);
  cells_[find(packet, hash)] = place;
  ++used_;
}

void FlowTable::grow() {
  std::vector<Place> cells(cells_.size() * 2, no_place);
  const std::size_t mask = cells.size() - 1;
  for (const Place place : cells_) {
    if (place == no_place) continue;
    std::size_t cell = slots_[place].hash & mask;
    while (cells[cell] != no_place) cell = (cell + 1) & mask;
    cells[cell] = place;
  }
  cells_ = std::move(cells);
}

void FlowTable::give(const Flow& flow, std::vector<Flow>& finished) {
  if (flow.packets() > 1) {
    finished.push_back(flow);
  } else {
    ++lone_;
  }
}

void FlowTable::close(std::size_t cell, std::vector<Flow>& finished) {
  give(slots_[cells_[cell]].flow, finished);
  remove(cell);
}

// Flows behind the freed cell move up, so that a search needs no marks of what was there.
void FlowTable::remove(std::size_t cell) {
  const Place place = cells_[cell];
  unlink(place);
  free_.push_back(place);
  --used_;
  const std::size_t mask = cells_.size() - 1;
  std::size_t hole = cell;
  for (std::size_t next = (hole + 1) & mask; cells_[next] != no_place; next = (next + 1) & mask) {
    const std::size_t home = slots_[cells_[next]].hash & mask;
    if (((next - home) & mask) >= ((next - hole) & mask)) {
      cells_[hole] = cells_[next];
      hole = next;
    }
  }
  cells_[hole] = no_place;
}

void FlowTable::evict(std::vector<Flow>& finished) {
  const Place place = bare_syns_.first != no_place ? bare_syns_.first : others_.first;
  const std::size_t mask = cells_.size() - 1;
  std::size_t cell = slots_[place].hash & mask;
  while (cells_[cell] != place) cell = (cell + 1) & mask;
  ++evicted_;
  close(cell, finished);
}

void FlowTable::append(Place place) {
  Slot& slot = slots_[place];
  Queue& queue = queue_of(slot);
  slot.before = queue.last;
  slot.after = no_place;
  (queue.last == no_place ? queue.first : slots_[queue.last].after) = place;
  queue.last = place;
}

void FlowTable::unlink(Place place) {
  const Slot& slot = slots_[place];
  Queue& queue = queue_of(slot);
  (slot.before == no_place ? queue.first : slots_[slot.before].after) = slot.after;
  (slot.after == no_place ? queue.last : slots_[slot.after].before) = slot.before;
}

void FlowTable::finish(std::vector<Flow>& finished) {
  std::vector<Place> places;
  for (const Place place : cells_) {
    if (place != no_place) places.push_back(place);
  }
  std::ranges::sort(places, {}, [this](Place place) { return slots_[place].flow.number; });
  for (const Place place : places) give(slots_[place].flow, finished);
  std::ranges::fill(cells_, no_place);
  slots_.clear();
  free_.clear();
  bare_syns_ = others_ = {};
  used_ = 0;
}

}  // namespace etcc::meter
