#include "meter/decoder.hpp"

#include <algorithm>
#include <optional>

namespace etcc::meter {

namespace {

enum EtherType : std::uint16_t {
  ip4_type = 0x0800,
  ip6_type = 0x86dd,
  vlan = 0x8100,
  qinq = 0x88a8,
  old_qinq = 0x9100,
  smallest = 0x0600,  // below, the field is a length
};
enum Protocol : std::uint8_t {
  hop_by_hop = 0,
  icmp_protocol = 1,
  ip_in_ip = 4,
  routing = 43,
  fragment_header = 44,
  authentication = 51,
  destination_options = 60
};
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
constexpr std::size_t ethernet_header = 14;
constexpr std::size_t ip4_header = 20;
constexpr std::size_t ip6_header = 40;
constexpr std::size_t tcp_header = 20;
constexpr std::size_t udp_header = 8;
constexpr std::uint16_t l2tp_port = 1701;
constexpr int most_headers = 16;  // of IPv6 and of tags, one within the other

bool is_vlan(std::uint16_t type) { return type == vlan || type == qinq || type == old_qinq; }

// Where a packet of IP begins in a frame.
struct Start {
  std::size_t at = 0;
  std::uint16_t type = 0;
  bool plain = true;  // no tag stands between Ethernet's header and IP's
};

// `header`: the length of the first header, which holds the type of what follows at `type_at`.
std::optional<Start> skip_tags(Bytes bytes, std::size_t type_at, std::size_t header) {
  if (bytes.size() < header) return std::nullopt;
  Start start{.at = header, .type = big16(bytes, type_at)};
  for (int i = 0; i < most_headers && is_vlan(start.type); ++i) {
    if (bytes.size() < start.at + 4) return std::nullopt;
    start = {.at = start.at + 4, .type = big16(bytes, start.at + 2), .plain = false};
  }
  return start;
}

void read_ports(Bytes bytes, std::size_t at, std::uint8_t protocol, Packet& packet) {
  packet.protocol = protocol;
  packet.source_port = big16(bytes, at);
  packet.target_port = big16(bytes, at + 2);
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

void copy_address(Bytes bytes, std::size_t at, std::size_t size, Address& address) {
  address = {};
  std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), size, address.begin());
}

Skip read_ip6(Bytes bytes, std::size_t at, Packet& packet) {
  if (bytes.size() < at + ip6_header) return Skip::too_short;
  if (bytes[at] >> 4 != 6) return Skip::ip_header;
  packet.version = 6;
  copy_address(bytes, at + 8, 16, packet.source);
  copy_address(bytes, at + 24, 16, packet.target);
  const std::size_t length = big16(bytes, at + 4);
  const std::size_t end = length == 0 ? bytes.size() : at + ip6_header + length;
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

Skip read_ip4(Bytes bytes, std::size_t at, Packet& packet) {
  if (bytes.size() < at + ip4_header) return Skip::too_short;
  const std::size_t header = static_cast<std::size_t>(bytes[at] & 0x0f) * 4;
  if (bytes[at] >> 4 != 4 || header < ip4_header) return Skip::ip_header;
  copy_address(bytes, at + 12, 4, packet.source);
  copy_address(bytes, at + 16, 4, packet.target);
  const std::uint8_t protocol = bytes[at + 9];
  if ((big16(bytes, at + 6) & 0x1fff) != 0 || (protocol != tcp_protocol && protocol != udp_protocol)) return Skip::none;
  const std::size_t length = big16(bytes, at + 2);  // 0: the network card was to cut the datagram
  const std::size_t end = length == 0 ? bytes.size() : at + length;
  return read_transport(bytes, at + header, end, protocol, packet) ? Skip::none : Skip::too_short;
}

// The Java meter's own way through the headers below the first one of IPv4. It takes TCP's header, wherever it stands,
// before UDP's.
class StrictWalk {
 public:
  StrictWalk(Bytes bytes, Packet& packet) : bytes_(bytes), packet_(packet) {}

  // `end`: of what is taken for captured. `plain`: bytes behind the datagram are cut off.
  void ip4(std::size_t at, std::size_t end, bool plain, int depth) {
    if (depth == most_headers || end < at + ip4_header) return;
    const std::size_t header = static_cast<std::size_t>(bytes_[at] & 0x0f) * 4;
    const std::size_t length = big16(bytes_, at + 2);
    if (header < ip4_header || length == 0) return;
    if (plain && at + length < end) end = at + length;
    if ((big16(bytes_, at + 6) & 0x1fff) != 0) return;
    const std::size_t below = at + header;
    switch (bytes_[at + 9]) {
      case tcp_protocol: tcp(below, end); break;
      case udp_protocol: udp(below, end, depth); break;
      case icmp_protocol: icmp(below, end, depth); break;
      case ip_in_ip: ip4(below, end, false, depth + 1); break;
      default: break;
    }
  }

  // TCP's options go on beyond the end: Java drops the frame.
  bool is_cut() const { return is_cut_; }

 private:
  void tcp(std::size_t at, std::size_t end) {
    if (packet_.protocol == tcp_protocol) return;
    read_transport(bytes_.first(std::min(end, bytes_.size())), at, end, tcp_protocol, packet_);
    is_cut_ = packet_.protocol == tcp_protocol && at + packet_.header > end;
  }

  void udp(std::size_t at, std::size_t end, int depth) {
    const Bytes captured = bytes_.first(std::min(end, bytes_.size()));
    if (packet_.protocol == 0 && !read_transport(captured, at, end, udp_protocol, packet_)) return;
    if (captured.size() < at + udp_header) return;
    if (big16(bytes_, at) == l2tp_port || big16(bytes_, at + 2) == l2tp_port) l2tp(at + udp_header, end, depth);
  }

  void icmp(std::size_t at, std::size_t end, int depth) {
    constexpr std::uint8_t unreachable = 3;
    constexpr std::uint8_t parameter_problem = 12;
    if (end < at + 8) return;
    if (bytes_[at] == unreachable || bytes_[at] == parameter_problem) ip4(at + 8, end, false, depth + 1);
  }

  void l2tp(std::size_t at, std::size_t end, int depth) {
    constexpr std::uint8_t with_control = 0x80, with_length = 0x40, with_sequence = 0x08, with_offset = 0x02;
    if (end < at + 6) return;
    const std::uint8_t flags = bytes_[at];
    if (flags & with_control) return;
    std::size_t size = 6;
    if (flags & with_length) size += 2;
    if (flags & with_sequence) size += 4;
    if (flags & with_offset) {
      if (end < at + size + 2) return;
      size += 2 + std::size_t{big16(bytes_, at + size)};
    }
    at += size;
    if (end < at + 4) return;
    if (bytes_[at] == 0xff && bytes_[at + 1] == 0x03) at += 2;  // PPP's address and control
    if (end < at + 2 || big16(bytes_, at) != 0x0021) return;
    ip4(at + 2, end, false, depth + 1);
  }

  Bytes bytes_;
  Packet& packet_;
  bool is_cut_ = false;
};

// Where IPv4 begins within IPv6; nothing where another protocol does.
std::optional<std::size_t> skip_ip6(Bytes bytes, std::size_t at) {
  if (bytes.size() < at + ip6_header) return std::nullopt;
  std::uint8_t next = bytes[at + 6];
  at += ip6_header;
  for (int i = 0; i < most_headers && next != ip_in_ip; ++i) {
    if ((next != hop_by_hop && next != routing && next != destination_options) || bytes.size() < at + 8)
      return std::nullopt;
    next = bytes[at];
    at += (std::size_t{bytes[at + 1]} + 1) * 8;
  }
  if (next != ip_in_ip) return std::nullopt;
  return at;
}

Skip decode_strict(Bytes bytes, Packet& packet) {
  std::optional<Start> start = skip_tags(bytes, 12, ethernet_header);
  if (!start) return Skip::too_short;
  if (start->type < smallest && bytes.size() >= start->at + 8 && bytes[start->at] == 0xaa) {
    // LLC and SNAP. Java takes the length behind Ethernet's header for the length of the frame.
    bytes = bytes.first(std::min<std::size_t>(bytes.size(), start->type));
    if (bytes.size() < start->at + 8) return Skip::too_short;
    start = Start{.at = start->at + 8, .type = big16(bytes, start->at + 6), .plain = false};
  } else if (start->type == ip6_type) {
    if (const std::optional<std::size_t> inner = skip_ip6(bytes, start->at)) {
      start = Start{.at = *inner, .type = ip4_type, .plain = false};
    }
  }
  if (start->type != ip4_type) {
    // Java reads any other frame as IPv4 from its first byte on, where that could be a header's length.
    if ((bytes[0] & 0x0f) < 5) return Skip::not_ip;
    start = Start{.at = 0, .type = ip4_type, .plain = false};
  }
  if (bytes.size() < start->at + ip4_header) return Skip::too_short;
  copy_address(bytes, start->at + 12, 4, packet.source);
  copy_address(bytes, start->at + 16, 4, packet.target);
  StrictWalk walk(bytes, packet);
  walk.ip4(start->at, bytes.size(), start->plain, 0);
  return walk.is_cut() ? Skip::too_short : Skip::none;
}

Skip decode_ip(Bytes bytes, std::size_t at, Packet& packet) {
  if (bytes.size() <= at) return Skip::too_short;
  switch (bytes[at] >> 4) {
    case 4: return read_ip4(bytes, at, packet);
    case 6: return read_ip6(bytes, at, packet);
    default: return Skip::not_ip;
  }
}

Skip decode_typed(Bytes bytes, std::size_t type_at, std::size_t header, Packet& packet) {
  const std::optional<Start> start = skip_tags(bytes, type_at, header);
  if (!start) return Skip::too_short;
  if (start->type == ip4_type) return read_ip4(bytes, start->at, packet);
  if (start->type == ip6_type) return read_ip6(bytes, start->at, packet);
  return Skip::not_ip;
}

Skip decode_ppp(Bytes bytes, Packet& packet) {
  const std::size_t at = bytes.size() >= 2 && bytes[0] == 0xff && bytes[1] == 0x03 ? 2 : 0;
  if (bytes.size() < at + 2) return Skip::too_short;
  switch (big16(bytes, at)) {
    case 0x0021: return read_ip4(bytes, at + 2, packet);
    case 0x0057: return read_ip6(bytes, at + 2, packet);
    default: return Skip::not_ip;
  }
}

}  // namespace

Skip decode(const Frame& frame, bool strict, Packet& packet) {
  packet = {.time = frame.time};
  if (strict) return decode_strict(frame.bytes, packet);
  switch (frame.link) {
    case ethernet_link: return decode_typed(frame.bytes, 12, ethernet_header, packet);
    case cooked_link: return decode_typed(frame.bytes, 14, 16, packet);
    case cooked2_link: return decode_typed(frame.bytes, 0, 20, packet);
    case null_link:
    case loop_link: return decode_ip(frame.bytes, 4, packet);
    case ppp_link: return decode_ppp(frame.bytes, packet);
    case raw_bsd:
    case raw_open_bsd:
    case raw_link:
    case raw_ip4:
    case raw_ip6: return decode_ip(frame.bytes, 0, packet);
    default: return Skip::link_type;
  }
}

}  // namespace etcc::meter
