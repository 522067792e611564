#include "cascade/cascade.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>

#include "cascade/decide.hpp"

namespace etcc {
namespace {

constexpr std::size_t min_task_rows = 64;

}  // namespace

Cascade::Cascade(std::vector<Node> nodes, std::size_t levels, std::size_t features, std::size_t max_task_rows,
                 std::size_t threads)
    : nodes_(std::move(nodes)), levels_(levels), features_(features), max_task_rows_(max_task_rows), pool_(threads) {
  const auto fail = [](bool bad, const char* why) {
    if (bad) throw std::invalid_argument(why);
  };
  fail(nodes_.empty() || levels_ == 0 || max_task_rows_ == 0, "a cascade needs nodes, levels and a block");
  std::vector<std::size_t> depth(nodes_.size(), 0);
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    const std::size_t classes = node.network.classes();
    fail(classes == 0 || node.codes.size() != classes || node.children.size() != classes,
         "labels and logits differ in number");
    fail(node.network.features() > features_, "a network reads beyond the features");
    fail(!(node.temperature > 0), "temperature must be above 0");
    fail(depth[i] >= levels_, "the tree is deeper than the levels");
    for (const std::int32_t child : node.children) {
      if (child < 0) continue;
      fail(static_cast<std::size_t>(child) <= i || static_cast<std::size_t>(child) >= nodes_.size(),
           "a child must come after its parent");
      depth[static_cast<std::size_t>(child)] = depth[i] + 1;
    }
  }
}

std::unique_ptr<Cascade::Space> Cascade::take_space() {
  {
    const std::lock_guard lock(mutex_);
    if (!spaces_.empty()) {
      auto space = std::move(spaces_.back());
      spaces_.pop_back();
      return space;
    }
    spaces_.reserve(2 * pool_.threads());
  }
  auto space = std::make_unique<Space>();
  std::size_t classes = 0;
  for (const Node& node : nodes_) {
    node.network.reserve(space->network);
    classes = std::max(classes, node.network.classes());
  }
  space->levels.resize(levels_);
  for (Level& level : space->levels) {
    level.rows.reserve(max_task_rows_);
    level.label.resize(max_task_rows_);
    level.logits.resize(max_task_rows_ * classes);
    level.confidence.resize(max_task_rows_);
    level.energy.resize(max_task_rows_);
  }
  return space;
}

void Cascade::run(std::span<const float> raw, std::span<std::int32_t> codes, std::span<float> confidence,
                  std::span<float> energy) {
  const std::size_t n = codes.size() / levels_;
  if (raw.size() != n * features_ || codes.size() != n * levels_ || confidence.size() != codes.size() ||
      energy.size() != codes.size()) {
    throw std::invalid_argument("features and outputs differ in rows");
  }
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  std::fill(codes.begin(), codes.end(), -1);
  std::fill(confidence.begin(), confidence.end(), nan);
  std::fill(energy.begin(), energy.end(), nan);
  const Call call{.raw = raw, .n = n, .codes = codes.data(), .confidence = confidence.data(), .energy = energy.data()};
  // Tasks small enough that every thread gets two, so that none waits long for the last.
  const std::size_t share = (n + 2 * pool_.threads() - 1) / (2 * pool_.threads());
  const std::size_t task_rows =
      pool_.threads() == 1 ? max_task_rows_ : std::min(max_task_rows_, std::max(share, min_task_rows));
  const struct {
    Cascade& cascade;
    const Call& call;
    std::size_t task_rows;
  } job{.cascade = *this, .call = call, .task_rows = task_rows};
  pool_.run((n + task_rows - 1) / task_rows, [&job](std::size_t task) {
    const std::size_t start = task * job.task_rows;
    job.cascade.run_task(job.call, start, std::min(start + job.task_rows, job.call.n));
  });
}

void Cascade::run_task(const Call& call, std::size_t start, std::size_t stop) {
  auto space = take_space();
  auto& rows = space->levels.front().rows;
  rows.resize(stop - start);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(start + i);
  run_node(nodes_.front(), call, 0, *space);
  const std::lock_guard lock(mutex_);
  spaces_.push_back(std::move(space));
}

void Cascade::run_node(const Node& node, const Call& call, std::size_t depth, Space& space) const {
  Level& level = space.levels[depth];
  const std::size_t n = level.rows.size();
  const std::size_t classes = node.network.classes();
  const auto logits = std::span(level.logits).first(n * classes);
  node.network.run(call.raw, features_, level.rows, logits, space.network);
  decide(logits, classes, node.temperature, std::span(level.label).first(n), std::span(level.confidence).first(n),
         std::span(level.energy).first(n));
  const std::size_t offset = depth * call.n;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t to = offset + static_cast<std::size_t>(level.rows[i]);
    call.codes[to] = level.label[i] < 0 ? -1 : node.codes[static_cast<std::size_t>(level.label[i])];
    call.confidence[to] = level.confidence[i];
    call.energy[to] = level.energy[i];
  }
  for (std::size_t c = 0; c < classes; ++c) {
    if (node.children[c] < 0) continue;
    auto& below = space.levels[depth + 1].rows;
    below.clear();
    for (std::size_t i = 0; i < n; ++i) {
      if (level.label[i] == static_cast<std::int32_t>(c)) below.push_back(level.rows[i]);
    }
    if (!below.empty()) run_node(nodes_[static_cast<std::size_t>(node.children[c])], call, depth + 1, space);
  }
}

}  // namespace etcc
