// What both decoders know of Ethernet, IP, TCP and UDP: numbers of protocols, sizes of headers, ports, addresses.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "meter/decoder.hpp"

namespace etcc::meter {

enum EtherType : std::uint16_t {
  least_type = 0x0600,  // below, the field is a length
  ip4_type = 0x0800,
  vlan_type = 0x8100,
  ip6_type = 0x86dd,
  qinq_type = 0x88a8,
  old_qinq_type = 0x9100,
};
enum Protocol : std::uint8_t {
  hop_by_hop = 0,
  icmp_protocol = 1,
  ip_in_ip = 4,
  routing = 43,
  fragment_header = 44,
  encrypted = 50,
  authentication = 51,
  destination_options = 60,
  l2tp_protocol = 115,
  mobility = 135,
};
enum PppProtocol : std::uint8_t { ppp_ip4 = 0x0021, ppp_ip6 = 0x0057 };

inline constexpr int ethernet_header = 14;
inline constexpr int ip4_header = 20;
inline constexpr int ip6_header = 40;
inline constexpr int tcp_header = 20;
inline constexpr int udp_header = 8;
inline constexpr std::uint16_t fragment_offset = 0x1fff;

inline void read_ports(Bytes bytes, std::size_t at, std::uint8_t protocol, Packet& packet) {
  packet.protocol = protocol;
  packet.source_port = big16(bytes, at);
  packet.target_port = big16(bytes, at + 2);
}

inline void copy_address(Bytes bytes, std::size_t at, std::size_t size, Address& address) {
  address = {};
  std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), size, address.begin());
}

}  // namespace etcc::meter
