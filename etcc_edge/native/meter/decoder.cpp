#include "meter/decoder.hpp"

#include <algorithm>
#include <memory>
#include <optional>

#include "meter/ip.hpp"
#include "meter/strict.hpp"

namespace etcc::meter {

namespace {

enum Link : std::uint16_t {
  null_link = 0,
  ethernet_link = 1,
  ppp_link = 9,
  raw_bsd = 12,
  raw_open_bsd = 14,
  raw_link = 101,
  loop_link = 108,
  cooked_link = 113,
  raw_ip4 = 228,
  raw_ip6 = 229,
  cooked2_link = 276,
};
constexpr int most_headers = 16;                                 // of IPv6 and of tags, one within the other
constexpr std::uint32_t longest_frame = std::uint32_t{1} << 20;  // the kernel gives a network card half as much to cut

bool is_vlan(std::uint16_t type) { return type == vlan_type || type == qinq_type || type == old_qinq_type; }

// Where a packet of IP begins in a frame.
struct Start {
  std::size_t at = 0;
  std::uint16_t type = 0;
};

// `header`: the length of the first header, which holds the type of what follows at `type_at`.
std::optional<Start> skip_tags(Bytes bytes, std::size_t type_at, std::size_t header) {
  if (bytes.size() < header) return std::nullopt;
  Start start{.at = header, .type = big16(bytes, type_at)};
  for (int i = 0; i < most_headers && is_vlan(start.type); ++i) {
    if (bytes.size() < start.at + 4) return std::nullopt;
    start = {.at = start.at + 4, .type = big16(bytes, start.at + 2)};
  }
  return start;
}

// Where a packet ends that IP gives no length, since a network card was to cut it or it is longer than 64 KiB. Of the
// frame, only its begin may have been captured.
std::size_t end_of(const Frame& frame) {
  return std::max<std::size_t>(frame.bytes.size(), std::min(frame.wire_length, longest_frame));
}

// TCP or UDP at `at`; the datagram ends at `end`, which may lie beyond what was captured. False: too short for it.
bool read_transport(Bytes bytes, std::size_t at, std::size_t end, std::uint8_t protocol, Packet& packet) {
  if (protocol == tcp_protocol) {
    if (bytes.size() < at + tcp_header) return false;
    read_ports(bytes, at, tcp_protocol, packet);
    packet.header = static_cast<std::uint32_t>(bytes[at + 12] >> 4) * 4;
    packet.flags = bytes[at + 13];
    packet.window = big16(bytes, at + 14);
  } else {
    if (bytes.size() < at + udp_header) return false;
    read_ports(bytes, at, udp_protocol, packet);
    packet.header = udp_header;
  }
  const std::size_t begin = at + packet.header;
  packet.payload = end > begin ? static_cast<std::uint32_t>(end - begin) : 0;
  return true;
}

Skip read_ip6(const Frame& frame, std::size_t at, Packet& packet) {
  const Bytes bytes = frame.bytes;
  if (bytes.size() < at + ip6_header) return Skip::too_short;
  if (bytes[at] >> 4 != 6) return Skip::ip_header;
  packet.version = 6;
  copy_address(bytes, at + 8, 16, packet.source);
  copy_address(bytes, at + 24, 16, packet.target);
  const std::size_t length = big16(bytes, at + 4);
  const std::size_t end = length == 0 ? end_of(frame) : at + ip6_header + length;
  std::uint8_t next = bytes[at + 6];
  at += ip6_header;
  for (int i = 0; i < most_headers; ++i) {
    if (next == tcp_protocol || next == udp_protocol) {
      return read_transport(bytes, at, end, next, packet) ? Skip::none : Skip::too_short;
    }
    if (next != hop_by_hop && next != routing && next != fragment_header && next != authentication &&
        next != destination_options) {
      return Skip::none;
    }
    if (bytes.size() < at + 8) return Skip::too_short;
    if (next == fragment_header && (big16(bytes, at + 2) & 0xfff8) != 0) return Skip::none;
    const std::size_t units = bytes[at + 1];
    const std::size_t size = next == fragment_header ? 8 : next == authentication ? (units + 2) * 4 : (units + 1) * 8;
    next = bytes[at];
    at += size;
  }
  return Skip::ip_header;
}

Skip read_ip4(const Frame& frame, std::size_t at, Packet& packet) {
  const Bytes bytes = frame.bytes;
  if (bytes.size() < at + ip4_header) return Skip::too_short;
  const std::size_t header = static_cast<std::size_t>(bytes[at] & 0x0f) * 4;
  if (bytes[at] >> 4 != 4 || header < ip4_header) return Skip::ip_header;
  copy_address(bytes, at + 12, 4, packet.source);
  copy_address(bytes, at + 16, 4, packet.target);
  const std::uint8_t protocol = bytes[at + 9];
  if ((big16(bytes, at + 6) & fragment_offset) != 0 || (protocol != tcp_protocol && protocol != udp_protocol))
    return Skip::none;
  const std::size_t length = big16(bytes, at + 2);
  const std::size_t end = length == 0 ? end_of(frame) : at + length;
  return read_transport(bytes, at + header, end, protocol, packet) ? Skip::none : Skip::too_short;
}

Skip decode_ip(const Frame& frame, std::size_t at, Packet& packet) {
  if (frame.bytes.size() <= at) return Skip::too_short;
  switch (frame.bytes[at] >> 4) {
    case 4: return read_ip4(frame, at, packet);
    case 6: return read_ip6(frame, at, packet);
    default: return Skip::not_ip;
  }
}

Skip decode_typed(const Frame& frame, std::size_t type_at, std::size_t header, Packet& packet) {
  const std::optional<Start> start = skip_tags(frame.bytes, type_at, header);
  if (!start) return Skip::too_short;
  if (start->type == ip4_type) return read_ip4(frame, start->at, packet);
  if (start->type == ip6_type) return read_ip6(frame, start->at, packet);
  return Skip::not_ip;
}

Skip decode_ppp(const Frame& frame, Packet& packet) {
  const Bytes bytes = frame.bytes;
  const std::size_t at = bytes.size() >= 2 && bytes[0] == 0xff && bytes[1] == 0x03 ? 2 : 0;
  if (bytes.size() < at + 2) return Skip::too_short;
  switch (big16(bytes, at)) {
    case ppp_ip4: return read_ip4(frame, at + 2, packet);
    case ppp_ip6: return read_ip6(frame, at + 2, packet);
    default: return Skip::not_ip;
  }
}

}  // namespace

Skip decode(const Frame& frame, bool strict, Packet& packet) {
  std::construct_at(&packet);  // an assignment would make a copy
  packet.time = frame.time;
  if (strict) return decode_strict(frame, packet);
  switch (frame.link) {
    case ethernet_link: return decode_typed(frame, 12, ethernet_header, packet);
    case cooked_link: return decode_typed(frame, 14, 16, packet);
    case cooked2_link: return decode_typed(frame, 0, 20, packet);
    case null_link:
    case loop_link: return decode_ip(frame, 4, packet);
    case ppp_link: return decode_ppp(frame, packet);
    case raw_bsd:
    case raw_open_bsd:
    case raw_link:
    case raw_ip4:
    case raw_ip6: return decode_ip(frame, 0, packet);
    default: return Skip::link_type;
  }
}

}  // namespace etcc::meter
