#include "meter/community_id.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <compare>
#include <cstddef>
#include <string_view>
#include <utility>

namespace etcc::meter {

namespace {

constexpr std::size_t block_bytes = 64;
using Block = std::array<std::uint8_t, block_bytes>;
using Digest = std::array<std::uint8_t, 20>;

// SHA-1 (FIPS 180-4) of a message that fits one block with its padding: up to 55 bytes.
Digest sha1(Block block, std::size_t size) {
  block[size] = 0x80;
  block[block_bytes - 1] = static_cast<std::uint8_t>(size * 8);
  block[block_bytes - 2] = static_cast<std::uint8_t>(size * 8 >> 8);
  std::array<std::uint32_t, 80> words{};
  for (std::size_t i = 0; i < 16; ++i) words[i] = big32(block, 4 * i);
  for (std::size_t i = 16; i < words.size(); ++i) {
    words[i] = std::rotl(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
  }
  constexpr std::array<std::uint32_t, 5> start{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  auto [a, b, c, d, e] = start;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::uint32_t mixed = b ^ c ^ d;
    std::uint32_t constant = 0;
    switch (i / 20) {
      case 0:
        mixed = d ^ (b & (c ^ d));
        constant = 0x5a827999;
        break;
      case 1: constant = 0x6ed9eba1; break;
      case 2:
        mixed = (b & c) | (d & (b | c));
        constant = 0x8f1bbcdc;
        break;
      default: constant = 0xca62c1d6; break;
    }
    const std::uint32_t next = std::rotl(a, 5) + mixed + e + constant + words[i];
    e = d;
    d = c;
    c = std::rotl(b, 30);
    b = a;
    a = next;
  }
  const std::array<std::uint32_t, 5> sums{start[0] + a, start[1] + b, start[2] + c, start[3] + d, start[4] + e};
  Digest digest{};
  for (std::size_t i = 0; i < digest.size(); ++i) {
    digest[i] = static_cast<std::uint8_t>(sums[i / 4] >> (24 - i % 4 * 8));
  }
  return digest;
}

void append_base64(std::string& out, const Digest& digest) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < digest.size(); i += 3) {
    const bool whole = i + 2 < digest.size();  // the last group has two bytes
    const std::uint32_t group = static_cast<std::uint32_t>(digest[i]) << 16 |
                                static_cast<std::uint32_t>(digest[i + 1]) << 8 | (whole ? digest[i + 2] : 0U);
    for (int shift = 18; shift >= (whole ? 0 : 6); shift -= 6) out += digits[group >> shift & 63];
    if (!whole) out += '=';
  }
}

}  // namespace

void append_community_id(std::string& out, const Flow& flow) {
  if (flow.protocol != tcp_protocol && flow.protocol != udp_protocol) return;
  const std::size_t address_bytes = flow.version == 4 ? 4 : 16;
  auto low = std::pair(flow.source, flow.source_port);
  auto high = std::pair(flow.target, flow.target_port);
  if (high < low) std::swap(low, high);
  Block block{};  // begins with the seed, 0 in two bytes
  std::size_t size = 2;
  const auto append_address = [&](const Address& address) {
    std::copy_n(address.begin(), address_bytes, block.begin() + static_cast<std::ptrdiff_t>(size));
    size += address_bytes;
  };
  const auto append_port = [&](std::uint16_t port) {
    block[size++] = static_cast<std::uint8_t>(port >> 8);
    block[size++] = static_cast<std::uint8_t>(port);
  };
  append_address(low.first);
  append_address(high.first);
  block[size++] = flow.protocol;
  block[size++] = 0;
  append_port(low.second);
  append_port(high.second);
  out += "1:";
  append_base64(out, sha1(block, size));
}

}  // namespace etcc::meter
