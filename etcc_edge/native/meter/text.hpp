// Flows as the Java meter's rows of text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "meter/flow.hpp"

namespace etcc::meter {

// The header's line: the names of all columns.
std::string header(const Profile& profile);

// Appends a line. `zone`: seconds to add to UTC for the row's timestamp.
void append_row(std::string& out, const Flow& flow, const Profile& profile, std::int64_t zone);

// The numbers of a row, in order: ports, protocol, duration, and all that follow.
inline constexpr std::size_t number_columns = 79;

struct Cell {
  double value = 0;
  bool is_real = false;  // written as a double; else as a whole number, as is the literal 0 for what a flow has none of
};
std::array<Cell, number_columns> cells_of(const Flow& flow, const Profile& profile);

// Parts of a row.
inline constexpr std::string_view no_label = "NeedManualLabel";
void append_flow_id(std::string& out, const Flow& flow);
void append_address(std::string& out, const Address& address, std::uint8_t version);
void append_time(std::string& out, std::int64_t microseconds, std::int64_t zone);
void append_cell(std::string& out, const Cell& cell);

}  // namespace etcc::meter
