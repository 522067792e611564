// The number in a cell.
#pragma once

#include <string_view>

namespace etcc {

// By the reader's rule: surrounding blanks, one plus sign and one pair of quotes are dropped; empty, "?", NaN,
// infinities and what exceeds float32 give NaN; anything else that is not a whole decimal number gives NaN and false.
// The value is rounded to double, multiplied by `factor` unless it is -1, which means none, and rounded to float32.
bool parse_number(std::string_view text, double factor, float& value);

// The same as double, infinities included, without a factor.
bool parse_number(std::string_view text, double& number);

}  // namespace etcc
