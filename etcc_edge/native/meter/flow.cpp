#include "meter/flow.hpp"

namespace etcc::meter {

namespace {

constexpr std::int64_t one_second = 1'000'000;  // microseconds
constexpr std::uint32_t bulk = 4;               // packets

}  // namespace

Flow::Flow(const Packet& packet, const Profile& profile, bool reversed)
    : source(reversed ? packet.target : packet.source),
      target(reversed ? packet.source : packet.target),
      source_port(reversed ? packet.target_port : packet.source_port),
      target_port(reversed ? packet.source_port : packet.target_port),
      protocol(packet.protocol),
      version(packet.version),
      first_payload(packet.payload),
      start(packet.time) {
  first_is_forward = last_is_forward = !profile.is_corrected || is_forward(packet);
  note(packet, profile, packet.time);
  active_start_ = active_end_ = packet.time;
  lengths_.add(packet.payload, 1);
  if (!profile.is_corrected) lengths_.add(packet.payload, 2);
  Direction& direction = first_is_forward ? forward : backward;
  direction.lengths.add(packet.payload);
  note_header(packet, profile, direction);
  if (first_is_forward) {
    forward_pushes = (packet.flags & psh_flag) != 0;
    forward_urgents = (packet.flags & urg_flag) != 0;
  }
}

void Flow::add(const Packet& packet, const Profile& profile) {
  const std::int64_t before = last();
  note(packet, profile, before);
  const auto count = static_cast<std::uint32_t>(packets());
  lengths_.add(packet.payload, count + (profile.is_corrected ? 1 : 2));
  gaps_.add(packet.time - before, count);
  last_is_forward = is_forward(packet);
  Direction& direction = last_is_forward ? forward : backward;
  if (direction.lengths.count() > 0) {
    direction.gaps.add(packet.time - direction.last, direction.lengths.count());
  } else {
    other_start = packet.time;
  }
  direction.lengths.add(packet.payload);
  direction.lengths.data_packets += packet.payload > 0;
  note_header(packet, profile, direction);
  if (profile.is_corrected && last_is_forward) {
    forward_pushes += (packet.flags & psh_flag) != 0;
    forward_urgents += (packet.flags & urg_flag) != 0;
  }
}

void Flow::note_header(const Packet& packet, const Profile& profile, Direction& direction) {
  direction.header_bytes += packet.header;
  direction.last = packet.time;
  if (&direction == &forward) {
    if (forward.lengths.count() == 1) first_window = packet.window;
    least_header = std::min(least_header, static_cast<std::uint8_t>(packet.header));
  } else if (!profile.is_corrected || last_backward_window == 0) {
    last_backward_window = packet.window;
  }
}

Summary Flow::lengths(const Profile& profile) const {
  const auto count = static_cast<std::uint32_t>(packets() + (profile.is_corrected ? 0 : 1));
  return {.count = count,
          .sum = static_cast<double>(bytes() + (profile.is_corrected ? 0 : first_payload)),
          .mean = lengths_.mean(),
          .min = static_cast<double>(std::min(forward.lengths.min(), backward.lengths.min())),
          .max = static_cast<double>(std::max(forward.lengths.max(), backward.lengths.max())),
          .variance = lengths_.variance(count)};
}

void Flow::note_activity(std::int64_t time, const Profile& profile) {
  if (time - active_end_ > profile.idle_after) {
    const std::int64_t end = profile.gap_is_active ? time : active_end_;
    if (end > active_start_) active_.add(end - active_start_, ++actives_);
    idle_.add(time - active_end_, ++idles_);
    active_start_ = time;
  }
  active_end_ = time;
}

// `before`: the time of the packet before.
void Flow::note(const Packet& packet, const Profile& profile, std::int64_t before) {
  note_bulk(packet);
  if (before == -1) before = packet.time;  // in Java, -1 stands for no packet
  const std::int64_t gap = packet.time - before;
  // The Java meter of 2020 divides the earlier time alone.
  const bool parts = profile.gaps_part_subflows
                         ? gap > one_second
                         : static_cast<double>(packet.time) - static_cast<double>(before) / one_second > 1.0;
  if (parts) {
    ++subflows;
    note_activity(profile.absolute_idle ? gap : packet.time, profile);
  }
  for (std::size_t bit = 0; bit < flags.size(); ++bit) flags[bit] += packet.flags >> bit & 1;
}

// The Java meter counts the packets of both directions here.
void Flow::note_bulk(const Packet& packet) {
  if (bulk_start_ < 0) bulk_start_ = 0;
  if (packet.payload == 0) return;
  if (bulk_start_ == 0 || packet.time - bulk_last_ > one_second) {
    bulk_start_ = packet.time;
    open_bulk_packets_ = 1;
    open_bulk_bytes_ = packet.payload;
  } else if (open_bulk_packets_ == bulk) {
    ++bulk_packets;
    bulk_bytes += packet.payload;
    lengthen_bulks(packet.time - bulk_last_);
  } else {
    open_bulk_packets_ = open_bulk_packets_ + 1;
    open_bulk_bytes_ = open_bulk_bytes_ + packet.payload;
    if (open_bulk_packets_ == bulk) {
      ++bulks;
      bulk_packets += bulk;
      bulk_bytes += open_bulk_bytes_;
      lengthen_bulks(packet.time - bulk_start_);
    }
  }
  bulk_last_ = packet.time;
}

}  // namespace etcc::meter
