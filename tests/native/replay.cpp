// Runs a fuzz target on the files named, each in several threads at once: for sanitizers, and without libFuzzer.
#include <cstdint>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    constexpr int copies = 3;
    std::vector<std::thread> threads;
    threads.reserve(copies);
    for (int copy = 0; copy < copies; ++copy) {
      threads.emplace_back([data = reinterpret_cast<const std::uint8_t*>(bytes.data()), size = bytes.size()] {
        LLVMFuzzerTestOneInput(data, size);
      });
    }
    for (auto& thread : threads) thread.join();
  }
  return argc > 1 ? 0 : 2;
}
