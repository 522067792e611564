// Frames off an interface, from the memory that the kernel shares with a packet socket (TPACKET_V3).
#pragma once

#include <cstddef>
#include <cstdint>

#include "meter/capture.hpp"

namespace etcc::meter {

// Two readings of a clock that may be set while packets wait in the ring. All in microseconds.
struct Clock {
  std::int64_t now = 0;          // time since 1970 as if the clock had never been set
  std::int64_t step_before = 0;  // by how much it had been set at the last reading
  std::int64_t step = 0;         // and at this one

  // The time of a frame that was stamped lately, before or after the clock was set.
  std::int64_t steady(std::int64_t stamp) const {
    const std::int64_t before = stamp - step_before, after = stamp - step;
    const auto distance = [this](std::int64_t time) { return time > now ? time - now : now - time; };
    return distance(after) <= distance(before) ? after : before;
  }
};

class Ring {
 public:
  // `socket`: a packet socket that has such a ring of blocks; its owner keeps it open, and closes it later.
  // `link`: LINKTYPE_ number of its frames. Throws std::runtime_error where the ring cannot be mapped.
  Ring(int socket, std::size_t block_bytes, std::size_t blocks, std::uint32_t link);
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring();

  // Waits for a block of frames, `milliseconds` at most.
  void wait(int milliseconds) const;

  // Gives every frame of the blocks that the kernel has closed to `take`, then the blocks back to the kernel: as many
  // as there are in the ring, at most.
  template <class Take>
  void read(const Clock& clock, Take take) {
    for (std::size_t i = 0; i < blocks_ && is_closed(); ++i) {
      Frame frame{.link = link_};
      for (std::size_t at = first(); at != 0; at = next(at)) {
        fill(at, frame);
        frame.time = clock.steady(frame.time);
        take(frame);
      }
      release();
    }
  }

 private:
  bool is_closed() const;
  std::size_t first();               // place of the block's first frame; 0: it has none
  std::size_t next(std::size_t at);  // 0: there is no other
  void fill(std::size_t at, Frame& frame) const;
  void release();

  int socket_;
  std::size_t block_bytes_, blocks_;
  std::uint32_t link_;
  std::uint8_t* memory_ = nullptr;
  std::size_t block_ = 0;     // the next to be read
  std::uint32_t frames_ = 0;  // of this block, still to be read
};

}  // namespace etcc::meter
