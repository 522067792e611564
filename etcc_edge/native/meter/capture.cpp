#include "meter/capture.hpp"

#include <algorithm>
#include <limits>

namespace etcc::meter {

namespace {

constexpr std::uint32_t microsecond_magic = 0xa1b2c3d4;
constexpr std::uint32_t nanosecond_magic = 0xa1b23c4d;
constexpr std::uint32_t byte_order = 0x1a2b3c4d;
constexpr std::size_t file_header = 24;
constexpr std::size_t record_header = 16;
constexpr std::size_t block_frame = 12;  // type, length and the length again
constexpr std::size_t max_frame = std::size_t{1} << 18;
constexpr std::size_t max_block = std::size_t{1} << 24;
constexpr std::size_t max_interfaces = 65'536;

enum Block : std::uint32_t {
  interface_block = 1,
  old_packet_block = 2,
  simple_packet_block = 3,
  enhanced_packet_block = 6,
  section_block = 0x0a0d0d0a,
};
enum Option : std::uint8_t { end_of_options = 0, clock_resolution = 9, clock_offset = 14 };

constexpr std::size_t padded(std::size_t size) { return (size + 3) & ~std::size_t{3}; }

std::uint64_t ticks(std::uint8_t resolution) {
  const unsigned exponent = resolution & 0x7f;
  if (resolution & 0x80) return exponent < 64 ? std::uint64_t{1} << exponent : 0;
  if (exponent > 19) return 0;
  std::uint64_t power = 1;
  for (unsigned i = 0; i < exponent; ++i) power *= 10;
  return power;
}

}  // namespace

std::uint32_t CaptureReader::number(std::size_t at) const {
  return big_endian_ ? big32(rest(), at) : little32(rest(), at);
}

std::uint16_t CaptureReader::short_number(std::size_t at) const {
  const std::uint16_t big = big16(rest(), at);
  return big_endian_ ? big : static_cast<std::uint16_t>(big << 8 | big >> 8);
}

bool CaptureReader::fail(const char* problem) {
  if (problem_.empty()) problem_ = problem;
  return false;
}

void CaptureReader::feed(Bytes bytes) {
  if (!problem_.empty()) return;
  piece_ = bytes;
  joined_ = 0;
  window_ = left_;
  begin_ = 0;
}

// More bytes come into the window, if there are any. A record that lies in two pieces is put together; the others are
// read where they are.
bool CaptureReader::widen() {
  const bool is_in_left = window_.data() == left_.data();
  if (is_in_left && !piece_.empty()) {
    if (rest().size() <= joined_) {  // the rest lies in the piece as well
      window_ = {piece_.data() - rest().size(), rest().size() + piece_.size()};
      piece_ = {};
      begin_ = 0;
      return true;
    }
    constexpr std::size_t least = 2048;
    const std::size_t size = std::min(piece_.size(), std::max(left_.size(), least));
    left_.insert(left_.end(), piece_.begin(), piece_.begin() + static_cast<std::ptrdiff_t>(size));
    piece_ = piece_.subspan(size);
    joined_ += size;
    window_ = left_;
    return true;
  }
  const Bytes over = rest();
  if (is_in_left) {
    left_.erase(left_.begin(), left_.begin() + static_cast<std::ptrdiff_t>(begin_));
  } else {
    left_.assign(over.begin(), over.end());
  }
  window_ = left_;
  begin_ = 0;
  return false;
}

void CaptureReader::finish() {
  if (form_ == Form::unknown) {
    fail(rest().empty() ? "it is empty" : "it is neither pcap nor pcapng");
  } else if (!rest().empty()) {
    fail("it is cut within a record");
  }
}

bool CaptureReader::next(Frame& frame) {
  while (!try_next(frame)) {
    if (!problem_.empty() || !widen()) return false;
  }
  return true;
}

bool CaptureReader::try_next(Frame& frame) {
  if (!problem_.empty()) return false;
  if (form_ == Form::unknown && !start()) return false;
  return form_ == Form::pcap ? next_record(frame) : next_block(frame);
}

bool CaptureReader::start() {
  if (rest().size() < 4) return false;
  const std::uint32_t magic = big32(rest(), 0);
  if (magic == section_block) {
    form_ = Form::pcapng;
    return true;
  }
  const std::uint32_t swapped = little32(rest(), 0);
  big_endian_ = magic == microsecond_magic || magic == nanosecond_magic;
  nanoseconds_ = magic == nanosecond_magic || swapped == nanosecond_magic;
  if (!big_endian_ && !nanoseconds_ && swapped != microsecond_magic) return fail("it is neither pcap nor pcapng");
  if (rest().size() < file_header) return false;
  snap_length_ = number(16);
  link_ = number(20) & 0xffff;  // the upper bits say how long a checksum is behind each frame
  begin_ += file_header;
  form_ = Form::pcap;
  return true;
}

bool CaptureReader::next_record(Frame& frame) {
  if (rest().size() < record_header) return false;
  const std::size_t size = number(8);
  if (size > max_frame) return fail("a record's length is impossible");
  if (rest().size() < record_header + size) return false;
  const std::int64_t fraction = number(4);
  frame = {.time = std::int64_t{number(0)} * 1'000'000 + (nanoseconds_ ? fraction / 1000 : fraction),
           .link = link_,
           .bytes = rest().subspan(record_header, snap_length_ == 0 ? size : std::min<std::size_t>(size, snap_length_)),
           .wire_length = number(12)};
  begin_ += record_header + size;
  return true;
}

bool CaptureReader::next_block(Frame& frame) {
  while (rest().size() >= block_frame) {
    if (big32(rest(), 0) == section_block) {
      const std::uint32_t order = big32(rest(), 8);
      if (order != byte_order && little32(rest(), 8) != byte_order) return fail("a section has no byte order");
      big_endian_ = order == byte_order;
    }
    const std::uint32_t type = number(0);
    const std::size_t size = number(4);
    if (size < block_frame || size % 4 != 0 || size > max_block) return fail("a block's length is impossible");
    if (rest().size() < size) return false;
    if (number(size - 4) != size) return fail("a block's two lengths differ");
    bool whole = true;
    bool is_packet = false;
    switch (type) {
      case section_block: whole = read_section(size); break;
      case interface_block: whole = read_interface(size); break;
      case old_packet_block:
      case simple_packet_block:
      case enhanced_packet_block: whole = is_packet = read_packet(type, size, frame); break;
      default: break;
    }
    if (!whole) return false;
    begin_ += size;
    if (is_packet) return true;
  }
  return false;
}

bool CaptureReader::read_section(std::size_t size) {
  if (size < 28) return fail("a section's header is too short");
  if (short_number(12) != 1) return fail("its version of pcapng is unknown");
  interfaces_.clear();
  return true;
}

bool CaptureReader::read_interface(std::size_t size) {
  if (size < 20) return fail("an interface's block is too short");
  if (interfaces_.size() == max_interfaces) return fail("it has too many interfaces");
  Interface interface{.link = short_number(8), .snap_length = number(12)};
  const std::size_t end = size - 4;
  for (std::size_t at = 16; at + 4 <= end;) {
    const std::uint16_t code = short_number(at);
    const std::size_t length = short_number(at + 2);
    if (code == end_of_options || at + 4 + length > end) break;
    if (code == clock_resolution && length >= 1) interface.ticks_a_second = ticks(rest()[at + 4]);
    if (code == clock_offset && length >= 8) {
      const std::uint64_t first = number(at + 4);
      const std::uint64_t second = number(at + 8);
      interface.offset = static_cast<std::int64_t>(big_endian_ ? first << 32 | second : second << 32 | first);
    }
    at += 4 + padded(length);
  }
  if (interface.ticks_a_second == 0) return fail("an interface's resolution of time is impossible");
  interfaces_.push_back(interface);
  return true;
}

bool CaptureReader::read_packet(std::uint32_t type, std::size_t size, Frame& frame) {
  const bool simple = type == simple_packet_block;
  const std::size_t header = simple ? 12 : 28;
  if (size < header + 4) return fail("a packet's block is too short");
  const std::size_t place = simple ? 0 : type == old_packet_block ? short_number(8) : number(8);
  if (place >= interfaces_.size()) return fail("a packet's interface is unknown");
  const Interface& interface = interfaces_[place];
  const std::size_t room = size - header - 4;
  std::size_t length = number(simple ? 8 : 20);
  if (simple) {
    if (interface.snap_length != 0) length = std::min<std::size_t>(length, interface.snap_length);
    length = std::min(length, room);
  }
  if (length > room || length > max_frame) return fail("a packet's length is impossible");
  std::int64_t time = 0;  // a simple packet has none
  if (!simple) {
    const std::uint64_t tick = std::uint64_t{number(12)} << 32 | number(16);
    const std::uint64_t second = tick / interface.ticks_a_second;
    const auto rest_of_second = static_cast<double>(tick % interface.ticks_a_second);
    const auto micros =
        interface.ticks_a_second <= 1'000'000'000'000
            ? static_cast<std::int64_t>(tick % interface.ticks_a_second * 1'000'000 / interface.ticks_a_second)
            : static_cast<std::int64_t>(rest_of_second * 1e6 / static_cast<double>(interface.ticks_a_second));
    // Unsigned: a lying clock wraps round instead of overflowing.
    time = static_cast<std::int64_t>((second + static_cast<std::uint64_t>(interface.offset)) * 1'000'000 +
                                     static_cast<std::uint64_t>(micros));
    constexpr std::int64_t latest_time = std::numeric_limits<std::int64_t>::max() / 1024;
    time = std::clamp(time, -latest_time, latest_time);
  }
  frame = {.time = time,
           .link = interface.link,
           .bytes = rest().subspan(header, length),
           .wire_length = number(simple ? 8 : 24)};
  return true;
}

}  // namespace etcc::meter
