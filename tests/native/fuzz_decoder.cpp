// Any bytes as a frame: it is a packet or it is skipped, and what it says is within what its headers can say.
// The first byte of the input chooses the link type, or the strict profile; the second, how much longer than captured
// the frame is said to be.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

#include "meter/decoder.hpp"

namespace {

using namespace etcc::meter;

// Every type that the decoder knows, and one that it does not.
constexpr std::array<std::uint32_t, 12> links{0, 1, 9, 12, 14, 101, 108, 113, 228, 229, 276, 147};

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const Bytes bytes = Bytes(data, size).subspan(2);
  const bool strict = data[0] % (links.size() + 1) == links.size();
  const Frame frame{
      .time = 5,
      .link = strict ? 1 : links[data[0] % (links.size() + 1)],
      .bytes = bytes,
      .wire_length = static_cast<std::uint32_t>(bytes.size() + (std::uint64_t{data[1]} % 8 << data[1] / 8))};
  Packet packet;
  const Skip skip = decode(frame, strict, packet);
  require(static_cast<std::size_t>(skip) < skip_reasons);
  if (skip != Skip::none) return 0;
  require(packet.time == frame.time && (packet.version == 4 || packet.version == 6));
  constexpr std::uint32_t longest_header = 60;
  const bool has_ports = packet.protocol == tcp_protocol || packet.protocol == udp_protocol;
  require(has_ports || packet.protocol == 0);
  require(has_ports ||
          (packet.source_port == 0 && packet.target_port == 0 && packet.payload == 0 && packet.header == 0));
  require(packet.header <= longest_header);
  require(packet.protocol == tcp_protocol || (packet.flags == 0 && packet.window == 0));
  if (strict) {
    require(packet.version == 4 && packet.payload + packet.header <= bytes.size());
  } else {
    constexpr std::uint32_t longest_packet = 65'535, longest_frame = 1 << 20;
    require(packet.payload <= longest_packet || packet.payload <= bytes.size() ||
            packet.payload <= std::min(frame.wire_length, longest_frame));
  }
  return 0;
}
