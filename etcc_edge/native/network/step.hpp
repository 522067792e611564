// One pass over a block of flows, and the memory that a thread's passes share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/aligned.hpp"

namespace etcc {

inline constexpr std::size_t flows_per_block = 64;  // at most

// What one thread needs to run networks; `Network::reserve` makes it large enough, and then nothing allocates.
struct Workspace {
  Floats front, back;  // one step's input and output
  Floats transformed, products;
  Floats fraction;
  std::vector<std::int32_t> table_row;
  Aligned<std::uint8_t> codes;
  std::vector<float> scale;  // of a flow's codes
};

// Flows on their way through a network.
struct Block {
  const float* raw;  // rows, each `features` wide
  std::size_t features;
  const std::int64_t* index;  // the flows' rows
  std::size_t flows;
  float* logits;
  Workspace& space;
};

// Reads the block's raw rows or `space.front`; writes `space.front`, by way of `space.back`, or the logits. A step
// may hold pointers into itself.
class Step {
 public:
  Step() = default;
  virtual ~Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  virtual void run(Block& block) const = 0;
};

}  // namespace etcc
