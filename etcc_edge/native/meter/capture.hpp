// Frames out of the bytes of a capture: classic pcap and pcapng, in either byte order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "meter/bytes.hpp"

namespace etcc::meter {

struct Frame {
  std::int64_t time = 0;          // microseconds since 1970, UTC
  std::uint32_t link = 0;         // LINKTYPE_ number of the frame's first header
  Bytes bytes;                    // as captured; valid until the next call of the reader
  std::uint32_t wire_length = 0;  // bytes on the wire, as the capture says
};

// Takes the bytes in pieces of any size and gives the frames in order. It never throws for what the bytes hold: a
// capture that is damaged ends there, and `problem` says how.
class CaptureReader {
 public:
  // They must stay until `next` has given false: only what is left then is copied.
  void feed(Bytes bytes);

  // No more bytes come. What is left is part of a record: a problem.
  void finish();

  // The next whole frame; false: more bytes are needed, or the capture has ended.
  bool next(Frame& frame);

  // One clause without a place; empty while there is none.
  const std::string& problem() const { return problem_; }

 private:
  enum class Form : std::uint8_t { unknown, pcap, pcapng };
  struct Interface {
    std::uint32_t link = 0;
    std::uint32_t snap_length = 0;  // 0: none
    std::uint64_t ticks_a_second = 1'000'000;
    std::int64_t offset = 0;  // seconds
  };

  Bytes rest() const { return window_.subspan(begin_); }
  bool try_next(Frame& frame);
  bool widen();
  std::uint32_t number(std::size_t at) const;  // 32 bits of `rest` in the capture's byte order
  std::uint16_t short_number(std::size_t at) const;
  bool fail(const char* problem);
  bool start();
  bool next_record(Frame& frame);
  bool next_block(Frame& frame);
  bool read_section(std::size_t size);
  bool read_interface(std::size_t size);
  bool read_packet(std::uint32_t type, std::size_t size, Frame& frame);

  std::vector<std::uint8_t> left_;  // over from earlier pieces, and the begin of the piece
  Bytes piece_;                     // that is not in `left_`
  std::size_t joined_ = 0;          // bytes of `left_` that are the piece's
  Bytes window_;                    // `left_` or the piece
  std::size_t begin_ = 0;           // of what is not consumed in the window
  Form form_ = Form::unknown;
  bool big_endian_ = false;
  bool nanoseconds_ = false;
  std::uint32_t link_ = 0;
  std::uint32_t snap_length_ = 0;  // 0: none; longer records are cut to it, as libpcap does
  std::vector<Interface> interfaces_;
  std::string problem_;
};

}  // namespace etcc::meter
