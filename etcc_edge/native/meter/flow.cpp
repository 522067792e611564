#include "meter/flow.hpp"

namespace etcc::meter {

namespace {

constexpr std::int64_t idle_after = 5'000'000;  // microseconds
constexpr double one_second = 1e6;
constexpr std::int64_t bulk = 4;  // packets

}  // namespace

Flow::Flow(const Packet& packet, const Profile& profile, bool reversed)
    : source(reversed ? packet.target : packet.source),
      target(reversed ? packet.source : packet.target),
      source_port(reversed ? packet.target_port : packet.source_port),
      target_port(reversed ? packet.source_port : packet.target_port),
      version(packet.version) {
  note(packet, profile);
  start = last = active_start_ = active_end_ = packet.time;
  protocol = packet.protocol;
  least_header = packet.header;
  first_window = packet.window;
  forward_push = packet.flags & psh_flag;
  forward_urgent = packet.flags & urg_flag;
  const double payload = packet.payload;
  lengths.add(payload);  // the first payload counts twice in CICFlowMeter
  lengths.add(payload);
  forward.lengths.add(payload);
  forward.header_bytes = packet.header;
  forward.last = packet.time;
}

void Flow::add(const Packet& packet, const Profile& profile) {
  note(packet, profile);
  const double payload = packet.payload;
  lengths.add(payload);
  Direction& direction = is_forward(packet) ? forward : backward;
  direction.lengths.add(payload);
  direction.header_bytes += packet.header;
  if (direction.lengths.count() > 1) direction.gaps.add(static_cast<double>(packet.time - direction.last));
  direction.last = packet.time;
  if (&direction == &forward) {
    forward_data_packets += packet.payload > 0;
    least_header = std::min(least_header, packet.header);
  } else {
    last_backward_window = packet.window;
  }
  gaps.add(static_cast<double>(packet.time - last));
  last = packet.time;
}

void Flow::note_activity(std::int64_t time) {
  if (time - active_end_ > idle_after) {
    if (active_end_ > active_start_) active.add(static_cast<double>(active_end_ - active_start_));
    idle.add(static_cast<double>(time - active_end_));
    active_start_ = time;
  }
  active_end_ = time;
}

void Flow::note(const Packet& packet, const Profile& profile) {
  note_bulk(packet);
  if (subflow_last_ == -1) subflow_last_ = packet.time;
  const std::int64_t gap = packet.time - subflow_last_;
  const auto time = static_cast<double>(packet.time);
  // The Java meter of 2020 divides the earlier time alone.
  const double seconds = profile.gaps_part_subflows ? static_cast<double>(gap) / one_second
                                                    : time - static_cast<double>(subflow_last_) / one_second;
  if (seconds > 1.0) {
    ++subflows;
    note_activity(profile.absolute_idle ? gap : packet.time);
  }
  subflow_last_ = packet.time;
  for (std::size_t bit = 0; bit < flags.size(); ++bit) flags[bit] += packet.flags >> bit & 1;
}

// The Java meter counts the packets of both directions here.
void Flow::note_bulk(const Packet& packet) {
  if (bulk_start_ < 0) bulk_start_ = 0;
  if (packet.payload == 0) return;
  if (bulk_start_ == 0 || static_cast<double>(packet.time - bulk_last_) / one_second > 1.0) {
    bulk_start_ = packet.time;
    open_bulk_packets_ = 1;
    open_bulk_bytes_ = packet.payload;
  } else {
    ++open_bulk_packets_;
    open_bulk_bytes_ += packet.payload;
    if (open_bulk_packets_ == bulk) {
      ++bulks;
      bulk_packets += bulk;
      bulk_bytes += open_bulk_bytes_;
      lengthen_bulks(packet.time - bulk_start_);
    } else if (open_bulk_packets_ > bulk) {
      ++bulk_packets;
      bulk_bytes += packet.payload;
      lengthen_bulks(packet.time - bulk_last_);
    }
  }
  bulk_last_ = packet.time;
}

}  // namespace etcc::meter
