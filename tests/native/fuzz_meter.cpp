// Any bytes as a capture, through the whole meter to text: every packet is in one flow, and the size of the pieces and
// of the table change nothing but what they must.
// The first four bytes of the input are settings. The rest is a capture, or packets of four bytes each, of which one is
// built.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "meter/meter.hpp"
#include "meter/text.hpp"

namespace {

using namespace etcc::meter;

struct Input {
  Profile profile;
  Settings settings;
  bool strict = false;
  std::size_t piece = 1;
};

// What came of a capture.
struct Flows {
  std::string text;
  std::uint64_t packets = 0;  // of flows that ended
  std::uint64_t decoded = 0, lone = 0, evicted = 0;
  std::string problem;
  bool operator==(const Flows&) const = default;
};

void require(bool holds) {
  if (!holds) std::abort();
}

void append_number(std::vector<std::uint8_t>& bytes, std::uint32_t number) {
  for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<std::uint8_t>(number >> shift));
}

// Four bytes each: the ends, TCP's flags (or UDP), the payload's size, and how far the clock goes or jumps.
std::vector<std::uint8_t> build(Bytes bytes) {
  constexpr std::uint32_t raw_link = 101;
  constexpr std::array<std::int64_t, 16> steps{
      0,           1,           1000,        999'999, 1'000'000,  1'000'001,    5'000'000, 5'000'001,
      119'999'999, 120'000'000, 120'000'001, -1,      -1'000'000, -200'000'000, 300'000,   86'400'000'000};
  std::vector<std::uint8_t> capture;
  for (const std::uint32_t number : {0xa1b2c3d4u, 0x0004'0002u, 0u, 0u, 262'144u, raw_link}) {
    append_number(capture, number);
  }
  std::int64_t time = 1'000'000'000'000'000;
  for (std::size_t at = 0; at + 4 <= bytes.size(); at += 4) {
    const std::uint8_t ends = bytes[at], flags = bytes[at + 1], payload = bytes[at + 2];
    time = std::clamp<std::int64_t>(time + steps[bytes[at + 3] % steps.size()], 0, 4'000'000'000'000'000);
    const bool is_tcp = (ends & 0x80) == 0;
    const auto size = static_cast<std::uint32_t>(20 + (is_tcp ? 20 : 8) + payload);
    append_number(capture, static_cast<std::uint32_t>(time / 1'000'000));
    append_number(capture, static_cast<std::uint32_t>(time % 1'000'000));
    append_number(capture, size);
    append_number(capture, size);
    const std::size_t begin = capture.size();
    capture.resize(begin + size);
    std::uint8_t* ip = capture.data() + begin;
    ip[0] = 0x45;
    ip[2] = static_cast<std::uint8_t>(size >> 8);
    ip[3] = static_cast<std::uint8_t>(size);
    ip[9] = is_tcp ? tcp_protocol : udp_protocol;
    ip[15] = ends & 3;
    ip[19] = ends >> 2 & 3;
    ip[21] = ends >> 4 & 1;
    ip[23] = ends >> 5 & 1;
    if (!is_tcp) continue;
    ip[32] = 0x50;
    ip[33] = flags;
  }
  return capture;
}

Flows read(Bytes capture, const Input& input) {
  Meter meter(input.profile, input.settings, input.strict, 1);
  Flows flows;
  const auto take = [&] {
    for (const Flow& flow : meter.take()) {
      require(flow.packets() > 1 || input.settings.gives_lone);
      require(flow.forward.lengths.count() > 0 || input.profile.is_corrected);
      if (!flow.is_early) flows.packets += static_cast<std::uint64_t>(flow.packets());
      const std::size_t begin = flows.text.size();
      append_row(flows.text, flow, input.profile, 0);
      const std::string_view row = std::string_view(flows.text).substr(begin);
      require(std::ranges::count(row, ',') == 83 && std::ranges::count(row, '\n') == 1 && row.back() == '\n');
    }
  };
  for (std::size_t at = 0; at < capture.size(); at += input.piece) {
    meter.feed(capture.subspan(at, std::min(input.piece, capture.size() - at)));
    take();
  }
  meter.finish();
  take();
  require(meter.take().empty());
  flows.decoded = meter.skips().front();
  flows.lone = meter.lone();
  flows.evicted = meter.evicted();
  flows.problem = meter.capture().problem();
  return flows;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t settings_size = 4;
  if (size < settings_size) return 0;
  const Bytes rest = Bytes(data, size).subspan(settings_size);
  const bool is_built = data[0] & 1;
  std::vector<std::uint8_t> built;
  if (is_built) built = build(rest);
  const Bytes capture = is_built ? Bytes(built) : rest;
  const std::size_t max_flows = data[1] % 16;
  Input input{.profile = profiles[(data[0] >> 1 & 1) + (data[0] >> 4 & 2)],
              .settings = {.timeout = 120'000'000,
                           .max_flows = max_flows == 0 ? std::size_t{1} << 16 : max_flows,
                           .seed = 77,
                           .gives_lone = (data[0] & 4) != 0,
                           .after_packets = data[2] % 8u,
                           .after_time = data[2] & 8 ? std::int64_t{data[2] >> 4} * 1'000'000 : 0},
              .strict = (data[0] & 8) != 0,
              .piece = capture.size() + 1};
  const Flows whole = read(capture, input);
  const std::uint64_t given = whole.packets + (input.settings.gives_lone ? 0 : whole.lone);
  // The later profile drops a second FIN from the client.
  require(input.profile.end != End::server_fin_or_rst ? given == whole.decoded : given <= whole.decoded);
  input.piece = std::size_t{data[3]} + 1;
  require(read(capture, input) == whole);
  if (max_flows != 0) return 0;
  require(whole.evicted == 0);
  input.settings.seed = data[0];
  require(read(capture, input) == whole);
  return 0;
}
