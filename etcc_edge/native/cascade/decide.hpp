// From a network's logits to labels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace etcc {

// Per row of `logits` (row-major, `classes` wide): the first class with the highest logit, its softmax
// probability at `temperature`, and the energy -log(sum(exp(logit))) (Liu et al., NeurIPS 2020). A row with a
// logit that is not finite gets label -1, and NaN for both.
void decide(std::span<const float> logits, std::size_t classes, float temperature, std::span<std::int32_t> label,
            std::span<float> confidence, std::span<float> energy);

}  // namespace etcc
