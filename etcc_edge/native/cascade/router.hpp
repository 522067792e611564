// From one network's logits to labels, and from labels to each child network's rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace etcc {

// Per row of `logits` (row-major, `classes` wide): the first class with the highest logit, its softmax
// probability at `temperature`, and the energy -log(sum(exp(logit))) (Liu et al., NeurIPS 2020). A row with a
// logit that is not finite gets label -1, and NaN for both.
void decide(std::span<const float> logits, std::size_t classes, float temperature, std::span<std::int32_t> label,
            std::span<float> confidence, std::span<float> energy);

struct Partition {
  std::vector<std::int64_t> rows;    // row numbers, group after group, each in rising order
  std::vector<std::int64_t> bounds;  // group g is rows[bounds[g]] .. rows[bounds[g + 1]]
};

// Stable partition of the row numbers by label. Negative labels belong to no group; a label of `groups` or
// above throws std::out_of_range.
Partition partition(std::span<const std::int32_t> label, std::size_t groups);

// out[rows[i]] = values[i]
template <class T>
void scatter(std::span<const T> values, std::span<const std::int64_t> rows, std::span<T> out);

}  // namespace etcc
