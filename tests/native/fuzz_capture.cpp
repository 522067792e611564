// Any bytes as a capture: frames lie within the bytes, and no way of cutting the bytes changes them.
// The first two bytes of the input say how large the pieces are.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "meter/capture.hpp"

namespace {

using etcc::meter::Bytes;
using etcc::meter::Frame;

struct Kept {
  std::int64_t time;
  std::uint32_t link, wire_length;
  std::vector<std::uint8_t> bytes;
  bool operator==(const Kept&) const = default;
};

struct Reading {
  std::vector<Kept> frames;
  std::string problem;
  bool operator==(const Reading&) const = default;
};

void require(bool holds) {
  if (!holds) std::abort();
}

Reading read(Bytes bytes, std::size_t piece) {
  etcc::meter::CaptureReader reader;
  Reading reading;
  std::size_t size = 0;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    // A copy of its own: the reader keeps no view of what it was given.
    const std::vector<std::uint8_t> part(
        bytes.begin() + static_cast<std::ptrdiff_t>(at),
        bytes.begin() + static_cast<std::ptrdiff_t>(std::min(at + piece, bytes.size())));
    reader.feed(part);
    for (Frame frame; reader.next(frame);) {
      reading.frames.push_back({.time = frame.time,
                                .link = frame.link,
                                .wire_length = frame.wire_length,
                                .bytes = {frame.bytes.begin(), frame.bytes.end()}});
      size += frame.bytes.size();
    }
  }
  reader.finish();
  require(size <= bytes.size());
  require(!reader.problem().empty() || !bytes.empty());
  reading.problem = reader.problem();
  return reading;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const Bytes bytes = Bytes(data, size).subspan(2);
  const Reading whole = read(bytes, bytes.size() + 1);
  require(read(bytes, std::size_t{data[0]} + 1) == whole);
  require(read(bytes, std::size_t{data[1]} * 16 + 1) == whole);
  return 0;
}
