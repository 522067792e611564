// Packets out of frames: addresses, ports, TCP's flags and the length of the payload; nothing else is looked at.
#pragma once

#include <array>
#include <cstdint>

#include "meter/capture.hpp"

namespace etcc::meter {

using Address = std::array<std::uint8_t, 16>;  // IPv4 in the first four bytes, zeros behind

enum Flag : std::uint8_t {
  fin_flag = 0x01,
  syn_flag = 0x02,
  rst_flag = 0x04,
  psh_flag = 0x08,
  ack_flag = 0x10,
  urg_flag = 0x20,
  ece_flag = 0x40,
  cwr_flag = 0x80,
};

struct Packet {
  std::int64_t time = 0;  // microseconds
  Address source{};
  Address target{};
  std::uint16_t source_port = 0;
  std::uint16_t target_port = 0;
  std::uint8_t version = 4;   // of IP
  std::uint8_t protocol = 0;  // TCP, UDP, or 0 for all others, as in the Java meter
  std::uint8_t flags = 0;
  std::uint16_t window = 0;
  std::uint32_t payload = 0;  // bytes behind TCP's or UDP's header
  std::uint32_t header = 0;   // bytes of that header
};

inline constexpr std::uint8_t tcp_protocol = 6;
inline constexpr std::uint8_t udp_protocol = 17;

// Why a frame is no packet; `none`: it is one.
enum class Skip : std::uint8_t { none, link_type, not_ip, too_short, ip_header };
inline constexpr std::size_t skip_reasons = 5;
inline constexpr std::array<const char*, skip_reasons> skip_names{"", "unknown link type", "not IP", "too short",
                                                                  "damaged IP header"};

// `strict`: the quirks of the Java meter's decoder as well; every frame is taken for Ethernet.
Skip decode(const Frame& frame, bool strict, Packet& packet);

}  // namespace etcc::meter
