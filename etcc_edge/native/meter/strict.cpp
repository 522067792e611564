#include "meter/strict.hpp"

#include <algorithm>
#include <optional>

#include "meter/ip.hpp"

namespace etcc::meter {

namespace {

enum class Kind : std::uint8_t { none, payload, ethernet, vlan, llc, snap, ip4, ip6, icmp, tcp, udp, l2tp, ppp };

// As jnetpcap records a header. `length` may be cut to what was captured, or go beyond it.
struct Header {
  std::int64_t at = 0;
  std::int64_t length = 0;
  std::int64_t payload = 0;
};

Kind kind_of_type(std::uint16_t type) {
  switch (type) {
    case ip4_type: return Kind::ip4;
    case ip6_type: return Kind::ip6;
    case vlan_type:
    case qinq_type:
    case old_qinq_type: return Kind::vlan;
    default: return Kind::payload;
  }
}

// jnetpcap's way from header to header. It keeps the first of each kind that CICFlowMeter asks for.
class Scan {
 public:
  Scan(const Frame& frame, Kind first) : bytes_(frame.bytes), end_(size()), wire_(frame.wire_length) {
    for (Kind kind = first; kind != Kind::none;) {
      length_ = payload_ = trailer_ = 0;
      Kind next = read(kind);
      if (length_ == 0) {
        next = Kind::payload;
      } else {
        keep(kind);
        before_ = kind;
        at_ += length_;
      }
      kind = at_ < end_ ? next : Kind::none;
    }
  }

  // What CICFlowMeter makes of it; false where Java raises an exception or knows no IPv4, and drops the frame.
  bool is_packet(Packet& packet) const {
    if (!ip4_ || !can_open_ip4(*ip4_)) return false;
    const auto ip_at = static_cast<std::size_t>(ip4_->at);
    copy_address(bytes_, ip_at + 12, 4, packet.source);
    copy_address(bytes_, ip_at + 16, 4, packet.target);
    if (tcp_ && !can_open_tcp(*tcp_)) return false;
    if (!tcp_ && !udp_) return headers_ <= most_headers;
    const Header& header = tcp_ ? *tcp_ : *udp_;
    const auto at = static_cast<std::size_t>(header.at);
    read_ports(bytes_, at, tcp_ ? tcp_protocol : udp_protocol, packet);
    packet.header = static_cast<std::uint32_t>(header.length);
    packet.payload = static_cast<std::uint32_t>(header.payload);
    if (tcp_) {
      packet.flags = bytes_[at + 13];
      packet.window = big16(bytes_, at + 14);
    }
    return true;
  }

 private:
  static constexpr int most_headers =
      19;  // of a packet without TCP and UDP, for whose headers CICFlowMeter asks by number

  std::int64_t size() const { return static_cast<std::int64_t>(bytes_.size()); }
  std::int64_t left() const { return end_ - at_; }
  std::uint8_t byte(std::int64_t place) const { return bytes_[static_cast<std::size_t>(at_ + place)]; }
  std::uint16_t number(std::int64_t place) const { return big16(bytes_, static_cast<std::size_t>(at_ + place)); }

  // Sets the header's length, 0 where it is too short to be one, and gives what follows.
  Kind read(Kind kind) {
    switch (kind) {
      case Kind::ethernet: return ethernet();
      case Kind::vlan: return vlan();
      case Kind::llc: return llc();
      case Kind::snap: return snap();
      case Kind::ip4: return ip4();
      case Kind::ip6: return ip6();
      case Kind::icmp: return icmp();
      case Kind::tcp:
        if (left() >= tcp_header) length_ = std::int64_t{4} * (byte(12) >> 4);
        return Kind::payload;
      case Kind::udp: return udp();
      case Kind::l2tp: return l2tp();
      case Kind::ppp: return ppp();
      case Kind::payload: length_ = left(); return Kind::none;
      case Kind::none: break;
    }
    return Kind::none;
  }

  Kind ethernet() {
    if (left() < ethernet_header) return Kind::payload;
    length_ = ethernet_header;
    const std::uint16_t type = number(12);
    if (type >= least_type) return kind_of_type(type);
    // A length, which jnetpcap takes for that of the whole frame.
    payload_ = type - std::int64_t{ethernet_header};
    trailer_ = end_ - type;
    return Kind::llc;
  }

  Kind vlan() {
    if (left() < 4) return Kind::payload;
    length_ = 4;
    if (left() < ethernet_header) return Kind::payload;
    const std::uint16_t type = number(2);
    if (type >= least_type) return kind_of_type(type);
    payload_ = type - length_ - at_;
    return Kind::llc;
  }

  Kind llc() {
    if (left() < 4) return Kind::payload;
    length_ = byte(2) & 1 ? 3 : 4;
    return byte(0) == 0xaa ? Kind::snap : Kind::payload;
  }

  Kind snap() {
    if (left() < 4) return Kind::payload;
    length_ = 5;
    const bool is_encapsulated = left() >= 5 && number(0) == 0 && byte(2) == 0;
    return is_encapsulated ? kind_of_type(number(3)) : Kind::payload;
  }

  Kind ip4() {
    if (left() < ip4_header) return Kind::payload;
    const std::int64_t total = number(2);
    const std::uint16_t fragment = number(6);
    const std::uint8_t protocol = byte(9);
    length_ = std::int64_t{4} * (byte(0) & 0x0f);
    payload_ = total - length_;
    // What pads a short frame is cut off, but only right behind Ethernet's header.
    if (before_ == Kind::ethernet && total <= end_) end_ = std::min(end_, at_ + total);
    if (left() < 8) return Kind::payload;
    constexpr std::uint16_t more_fragments = 0x2000;
    if (fragment & more_fragments) payload_ = left() - length_;
    if (left() < 16 || (fragment & fragment_offset) != 0) return Kind::payload;
    switch (protocol) {
      case icmp_protocol: return Kind::icmp;
      case ip_in_ip: return Kind::ip4;
      case tcp_protocol: return Kind::tcp;
      case udp_protocol: return Kind::udp;
      case l2tp_protocol: return Kind::l2tp;
      default: return Kind::payload;
    }
  }

  Kind ip6() {
    if (left() < ip6_header) return Kind::payload;
    length_ = ip6_header;
    payload_ = number(4);
    std::uint8_t next = byte(6);
    while (true) {
      switch (next) {
        case icmp_protocol: return Kind::icmp;
        case ip_in_ip: return Kind::ip4;
        case tcp_protocol: return Kind::tcp;
        case udp_protocol: return Kind::udp;
        case hop_by_hop:
        case routing:
        case fragment_header:
        case encrypted:
        case authentication:
        case destination_options:
        case mobility: break;
        default: return payload_ == 0 ? Kind::none : Kind::payload;
      }
      if (left() < length_ + 2) return Kind::payload;
      next = byte(length_);
      const std::int64_t size = (std::int64_t{byte(length_ + 1)} + 1) * 8;
      if (left() < at_ + size) return Kind::payload;  // sic: the place counts twice
      length_ += size;
      payload_ -= size;
    }
  }

  Kind icmp() {
    constexpr std::uint8_t unreachable = 3;
    constexpr std::uint8_t parameter_problem = 12;
    if (left() < 4) return Kind::payload;
    length_ = 8;
    return byte(0) == unreachable || byte(0) == parameter_problem ? Kind::ip4 : Kind::payload;
  }

  Kind udp() {
    constexpr std::uint16_t l2tp_port = 1701;
    constexpr std::array<std::uint16_t, 3> media_ports{5004, 5005, 5060};
    if (left() < udp_header) return Kind::payload;
    length_ = udp_header;
    const std::uint16_t source = number(0);
    const std::uint16_t target = number(2);
    if (target == l2tp_port) return Kind::l2tp;
    return source == l2tp_port && std::ranges::find(media_ports, target) == media_ports.end() ? Kind::l2tp
                                                                                              : Kind::payload;
  }

  Kind l2tp() {
    constexpr std::uint8_t with_control = 0x80, with_length = 0x40, with_sequence = 0x08, with_offset = 0x02;
    if (left() < 2) return Kind::payload;
    const std::uint8_t flags = byte(0);
    length_ = 6 + (flags & with_length ? 2 : 0) + (flags & with_sequence ? 4 : 0) + (flags & with_offset ? 4 : 0);
    return flags & with_control ? Kind::payload : Kind::ppp;
  }

  Kind ppp() {
    if (left() < 4) return Kind::payload;
    length_ = 4;
    switch (number(2)) {
      case ppp_ip4: return Kind::ip4;
      case ppp_ip6: return Kind::ip6;
      default: return Kind::payload;
    }
  }

  void keep(Kind kind) {
    ++headers_;
    wire_ -= trailer_;
    end_ = std::min(end_, wire_);
    const std::int64_t behind = at_ + length_;
    if (payload_ == 0) payload_ = std::max<std::int64_t>(end_ - behind, 0);
    if (behind + payload_ + trailer_ > end_ && behind + payload_ > end_) {
      payload_ = std::max<std::int64_t>(end_ - behind, 0);
      if (behind > end_) length_ = std::max<std::int64_t>(end_ - at_, 0);
    }
    std::optional<Header>* header = kind == Kind::ip4   ? &ip4_
                                    : kind == Kind::tcp ? &tcp_
                                    : kind == Kind::udp ? &udp_
                                                        : nullptr;
    if (header != nullptr && !*header) *header = Header{.at = at_, .length = length_, .payload = payload_};
  }

  // Java reads the addresses and walks over the options, and none of it may lie beyond the header as it was kept.
  bool can_open_ip4(const Header& header) const {
    if (header.length < ip4_header || header.at + header.length > size()) return false;
    const auto at = static_cast<std::size_t>(header.at);
    const std::int64_t end = std::int64_t{4} * (bytes_[at] & 0x0f);
    for (std::int64_t i = ip4_header; i < end; ++i) {
      if (i >= header.length) return false;
      const std::uint8_t option = bytes_[at + static_cast<std::size_t>(i)] & 0x1f;
      if (option == 0 || option == 22 || option > 25) break;  // the last one, or none that Java knows
      if (option == 1) continue;
      if (i + 1 >= header.length) return false;
      i += bytes_[at + static_cast<std::size_t>(i) + 1];
    }
    return true;
  }

  // Of TCP's options, Java looks at the first.
  bool can_open_tcp(const Header& header) const {
    constexpr std::int64_t up_to_window = 16;
    if (header.length < up_to_window) return false;
    const auto at = static_cast<std::size_t>(header.at);
    if ((bytes_[at + 12] >> 4) * 4 <= tcp_header) return true;
    if (header.length <= tcp_header) return false;
    return bytes_[at + tcp_header] <= 1 || header.length > tcp_header + 1;
  }

  Bytes bytes_;
  std::int64_t at_ = 0, end_, wire_;
  std::int64_t length_ = 0, payload_ = 0, trailer_ = 0;  // of the header at hand
  Kind before_ = Kind::none;
  int headers_ = 0;
  std::optional<Header> ip4_, tcp_, udp_;
};

}  // namespace

Skip decode_strict(const Frame& frame, Packet& packet) {
  if (static_cast<std::int32_t>(frame.wire_length) < static_cast<std::int64_t>(frame.bytes.size())) {
    return Skip::too_short;
  }
  if (Scan(frame, Kind::ethernet).is_packet(packet)) return Skip::none;
  // Java reads any other frame as IPv4 from its first byte on.
  packet = {.time = frame.time};
  return Scan(frame, Kind::ip4).is_packet(packet) ? Skip::none : Skip::not_ip;
}

}  // namespace etcc::meter
