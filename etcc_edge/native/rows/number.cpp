#include "rows/number.hpp"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>

#include "rows/text.hpp"

namespace etcc {

bool parse_number(std::string_view text, double& number) {
  number = std::numeric_limits<double>::quiet_NaN();
  text = trimmed(text);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    text = trimmed(text.substr(1, text.size() - 2));
  }
  if (text.empty() || text == "?") return true;
  if (text.front() == '+') {
    text.remove_prefix(1);
    if (text.empty() || text.front() == '-') return false;
  }
  const char* end = text.data() + text.size();
  double whole = 0;
  const auto [stop, failure] = std::from_chars(text.data(), end, whole);
  if (stop != end || failure == std::errc::invalid_argument) return false;
  // strtod tells too large (infinite) from too small (zero).
  const bool is_beyond = failure == std::errc::result_out_of_range;
  number = is_beyond ? std::strtod(std::string(text).c_str(), nullptr) : whole;
  return true;
}

bool parse_number(std::string_view text, double factor, float& value) {
  value = std::numeric_limits<float>::quiet_NaN();
  double number = 0;
  if (!parse_number(text, number)) return false;
  const auto rounded = static_cast<float>(number == -1 ? number : number * factor);
  if (std::isfinite(rounded)) value = rounded;
  return true;
}

}  // namespace etcc
