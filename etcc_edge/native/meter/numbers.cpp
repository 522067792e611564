#include "meter/numbers.hpp"

#include <arpa/inet.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>

#include "meter/community_id.hpp"
#include "meter/text.hpp"

namespace etcc::meter {

namespace {

// Columns of `header` that hold text, or come before the figures.
enum HeaderColumn : std::uint8_t {
  flow_id_column = 0,
  source_column = 1,
  source_port_column = 2,
  target_column = 3,
  target_port_column = 4,
  protocol_column = 5,
  time_column = 6,
  duration_column = 7,
  label_column = 83,
};

// The place among a flow's cells of the number in a column of `header`; none for text.
std::optional<std::size_t> cell_place(std::size_t column) {
  switch (column) {
    case source_port_column: return 0;
    case target_port_column: return 1;
    case protocol_column: return 2;
    default: break;
  }
  if (column < duration_column || column >= label_column) return std::nullopt;
  return column - duration_column + 3;
}

float as_read(const Cell& cell) {
  // A whole number's text has no sign of zero.
  const double value = cell.is_real ? cell.value : static_cast<double>(static_cast<std::int64_t>(cell.value));
  const auto rounded = static_cast<float>(value);
  return std::isfinite(rounded) ? rounded : std::numeric_limits<float>::quiet_NaN();
}

// Those of IPv6 in the shortest form, which other tools write, and Java does not.
void append_short_address(std::string& out, const Address& address, std::uint8_t version) {
  if (version == 4) {
    append_address(out, address, version);
    return;
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  out += inet_ntop(AF_INET6, address.data(), text.data(), text.size());
}

void append_padded(std::string& out, std::uint64_t value, std::size_t digits) {
  char text[24];
  const char* end = std::to_chars(text, text + sizeof text, value).ptr;
  const auto size = static_cast<std::size_t>(end - text);
  out.append(digits > size ? digits - size : 0, '0');
  out.append(text, size);
}

// "2015-04-16T13:21:45.037333Z".
void append_instant(std::string& out, std::int64_t microseconds) {
  using namespace std::chrono;
  const sys_time<std::chrono::microseconds> time{std::chrono::microseconds(microseconds)};
  const sys_days day = floor<days>(time);
  const year_month_day date(day);
  const hh_mm_ss clock(time - day);
  const auto year = static_cast<int>(date.year());
  if (year < 0) out += '-';
  append_padded(out, static_cast<std::uint64_t>(std::abs(year)), 4);
  out += '-';
  append_padded(out, static_cast<unsigned>(date.month()), 2);
  out += '-';
  append_padded(out, static_cast<unsigned>(date.day()), 2);
  out += 'T';
  append_padded(out, static_cast<std::uint64_t>(clock.hours().count()), 2);
  out += ':';
  append_padded(out, static_cast<std::uint64_t>(clock.minutes().count()), 2);
  out += ':';
  append_padded(out, static_cast<std::uint64_t>(clock.seconds().count()), 2);
  out += '.';
  append_padded(out, static_cast<std::uint64_t>(clock.subseconds().count()), 6);
  out += 'Z';
}

void append_seconds(std::string& out, std::int64_t microseconds) {
  if (microseconds < 0) out += '-';
  const auto size = microseconds < 0 ? std::uint64_t{0} - static_cast<std::uint64_t>(microseconds)
                                     : static_cast<std::uint64_t>(microseconds);
  append_padded(out, size / 1'000'000, 1);
  out += '.';
  append_padded(out, size % 1'000'000, 6);
}

}  // namespace

void append_numbers(std::vector<float>& out, const Flow& flow, const Profile& profile,
                    std::span<const std::size_t> columns) {
  const auto cells = cells_of(flow, profile);
  for (const std::size_t column : columns) {
    const std::optional<std::size_t> place = cell_place(column);
    if (!place) throw std::out_of_range("a column holds no numbers");
    out.push_back(as_read(cells[*place]));
  }
}

void append_cells(std::string& out, std::vector<std::int64_t>& ends, const Flow& flow, const Profile& profile,
                  std::span<const std::size_t> columns) {
  std::optional<std::array<Cell, number_columns>> cells;  // dear, and the columns that identify a flow need none
  bool first = true;
  for (const std::size_t column : columns) {
    if (!first) out += ',';
    first = false;
    ends.push_back(static_cast<std::int64_t>(out.size()));
    switch (column) {
      case flow_id_column: append_flow_id(out, flow); break;
      case source_column: append_short_address(out, flow.source, flow.version); break;
      case source_port_column: append_padded(out, flow.source_port, 1); break;
      case target_column: append_short_address(out, flow.target, flow.version); break;
      case target_port_column: append_padded(out, flow.target_port, 1); break;
      case protocol_column: append_padded(out, flow.protocol, 1); break;
      case time_column: append_time(out, flow.start, 0); break;
      case label_column: out += no_label; break;
      case community_id_column: append_community_id(out, flow); break;
      case start_column: append_instant(out, flow.start); break;
      case seconds_column: append_seconds(out, flow.duration()); break;
      case forward_packets_column:
        append_padded(out, static_cast<std::uint64_t>(flow.forward.lengths.count()), 1);
        break;
      case backward_packets_column:
        append_padded(out, static_cast<std::uint64_t>(flow.backward.lengths.count()), 1);
        break;
      case forward_bytes_column: append_padded(out, static_cast<std::uint64_t>(flow.forward.lengths.sum()), 1); break;
      case backward_bytes_column: append_padded(out, static_cast<std::uint64_t>(flow.backward.lengths.sum()), 1); break;
      case verdict_column: out += flow.is_early ? "early" : "final"; break;
      default: {
        const std::optional<std::size_t> place = cell_place(column);
        if (!place) throw std::out_of_range("there is no such column");
        if (!cells) cells = cells_of(flow, profile);
        append_cell(out, (*cells)[*place]);
      }
    }
    ends.push_back(static_cast<std::int64_t>(out.size()));
  }
}

}  // namespace etcc::meter
