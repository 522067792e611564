#include "meter/ring.hpp"

#include <linux/if_packet.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace etcc::meter {

namespace {

// The kernel writes headers at aligned places.
template <class Header>
Header* header_at(std::uint8_t* place) {
  return reinterpret_cast<Header*>(place);
}

}  // namespace

Ring::Ring(int socket, std::size_t block_bytes, std::size_t blocks, std::uint32_t link)
    : socket_(socket), block_bytes_(block_bytes), blocks_(blocks), link_(link) {
  void* memory = mmap(nullptr, block_bytes * blocks, PROT_READ | PROT_WRITE, MAP_SHARED, socket, 0);
  if (memory == MAP_FAILED) throw std::runtime_error(std::strerror(errno));
  memory_ = static_cast<std::uint8_t*>(memory);
}

Ring::~Ring() { munmap(memory_, block_bytes_ * blocks_); }

void Ring::wait(int milliseconds) const {
  if (is_closed()) return;
  pollfd descriptor{.fd = socket_, .events = POLLIN, .revents = 0};
  if (poll(&descriptor, 1, milliseconds) > 0 && (descriptor.revents & POLLERR) != 0) {
    // Such as an interface that went down. Read, or each poll would end at once.
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error, &size);
  }
}

bool Ring::is_closed() const {
  auto& status = header_at<tpacket_block_desc>(memory_ + block_ * block_bytes_)->hdr.bh1.block_status;
  return (std::atomic_ref(status).load(std::memory_order_acquire) & TP_STATUS_USER) != 0;
}

std::size_t Ring::first() {
  const std::size_t begin = block_ * block_bytes_;
  const tpacket_hdr_v1& header = header_at<tpacket_block_desc>(memory_ + begin)->hdr.bh1;
  frames_ = header.num_pkts;
  return frames_ == 0 ? 0 : begin + header.offset_to_first_pkt;
}

std::size_t Ring::next(std::size_t at) {
  return --frames_ == 0 ? 0 : at + header_at<tpacket3_hdr>(memory_ + at)->tp_next_offset;
}

void Ring::fill(std::size_t at, Frame& frame) const {
  const tpacket3_hdr& header = *header_at<tpacket3_hdr>(memory_ + at);
  frame.time = std::int64_t{header.tp_sec} * 1'000'000 + header.tp_nsec / 1000;
  frame.bytes = Bytes(memory_ + at + header.tp_mac, header.tp_snaplen);
  frame.wire_length = header.tp_len;
}

void Ring::release() {
  auto& status = header_at<tpacket_block_desc>(memory_ + block_ * block_bytes_)->hdr.bh1.block_status;
  std::atomic_ref(status).store(TP_STATUS_KERNEL, std::memory_order_release);
  block_ = (block_ + 1) % blocks_;
}

}  // namespace etcc::meter
