// Flows as numbers and as the Java meter's rows of text.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "meter/flow.hpp"

namespace etcc::meter {

// How Java writes a number: a whole one, a double, or a literal 0 for what the flow has none of.
enum class Form : std::uint8_t { whole, real, absent };

struct Cell {
  double value = 0;
  Form form = Form::whole;
};

// The columns that hold numbers: ports, protocol, duration, and all that follow.
inline constexpr std::size_t number_columns = 79;
std::array<Cell, number_columns> cells_of(const Flow& flow, const Profile& profile);

// The header's line: the names of all columns.
std::string header(const Profile& profile);

// Appends a line. `zone`: seconds to add to UTC for the row's timestamp.
void append_row(std::string& out, const Flow& flow, const Profile& profile, std::int64_t zone);

// As Java's Double.toString, always in its shortest form.
void append_real(std::string& out, double value);

}  // namespace etcc::meter
