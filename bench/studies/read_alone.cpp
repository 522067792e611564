// The ceiling of any meter: a capture is mapped, and the headers of every frame are touched.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

// Frames of a pcap file in this machine's byte order; 0 where it cannot be read. `sum`: of what was touched.
extern "C" std::uint64_t read_alone(const char* path, std::uint64_t* sum) {
  const int file = open(path, O_RDONLY);
  struct stat about{};
  if (file < 0 || fstat(file, &about) != 0) return 0;
  const auto size = static_cast<std::size_t>(about.st_size);
  void* mapped = mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
  close(file);
  if (mapped == MAP_FAILED) return 0;
  const auto* bytes = static_cast<const std::uint8_t*>(mapped);
  std::uint64_t frames = 0;
  for (std::size_t at = 24; at + 16 <= size; ++frames) {
    std::uint32_t length = 0;
    std::memcpy(&length, bytes + at + 8, sizeof length);
    at += 16;
    constexpr std::size_t headers = 54;  // Ethernet, IPv4 and TCP
    for (std::size_t i = 0; i < headers && i < length && at + i < size; i += 8) *sum += bytes[at + i];
    at += length;
  }
  munmap(mapped, size);
  return frames;
}
