// The whole cascade on raw features: scale, run, decide, route, and again for each label's own network.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "network/network.hpp"
#include "threads/pool.hpp"

namespace etcc {

class Cascade {
 public:
  struct Node {
    Network network;
    float temperature;
    std::vector<std::int32_t> codes;     // of the network's labels, at the node's level
    std::vector<std::int32_t> children;  // of the network's labels: a node, or -1
  };

  // Node 0 is the root; a child comes after its parent, so there are no circles. A thread labels up to `max_task_rows`
  // rows in one go. Throws std::invalid_argument where nodes, levels and features do not fit together.
  Cascade(std::vector<Node> nodes, std::size_t levels, std::size_t features, std::size_t max_task_rows,
          std::size_t threads);

  std::size_t levels() const { return levels_; }
  std::size_t features() const { return features_; }

  // Of raw [n][features]: codes, confidence and energy, each [levels][n]; -1 and NaN where no network answers. The
  // same for any division into tasks and number of threads. Several threads may call it at once.
  void run(std::span<const float> raw, std::span<std::int32_t> codes, std::span<float> confidence,
           std::span<float> energy);

 private:
  struct Level {  // of one task's way down the tree
    std::vector<std::int64_t> rows;
    std::vector<std::int32_t> label;
    std::vector<float> logits, confidence, energy;
  };
  struct Space {
    Workspace network;
    std::vector<Level> levels;
  };
  struct Call {
    std::span<const float> raw;
    std::size_t n;
    std::int32_t* codes;
    float* confidence;
    float* energy;
  };

  void run_task(const Call& call, std::size_t start, std::size_t stop);
  void run_node(const Node& node, const Call& call, std::size_t depth, Space& space) const;
  std::unique_ptr<Space> take_space();

  std::vector<Node> nodes_;
  std::size_t levels_, features_, max_task_rows_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Space>> spaces_;  // those that no thread uses now
  Pool pool_;
};

}  // namespace etcc
