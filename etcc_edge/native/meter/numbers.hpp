// Flows as columns: float32 for networks, and text for whoever asks for it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "meter/flow.hpp"
#include "meter/profile.hpp"

namespace etcc::meter {

// The columns of a flow are those of `header`, by their places there, and behind them these.
enum OwnColumn : std::uint8_t {
  community_id_column = 84,
  start_column,    // ISO 8601 in UTC, microseconds
  seconds_column,  // of its duration
  forward_packets_column,
  backward_packets_column,
  forward_bytes_column,  // of payload
  backward_bytes_column,
  verdict_column,  // "early" or "final"
  all_columns,
};

// Their names, from `community_id_column` on.
inline constexpr std::array<const char*, all_columns - community_id_column> own_column_names{
    "community_id", "start", "duration_s", "fwd_packets", "bwd_packets", "fwd_bytes", "bwd_bytes", "verdict"};

// Appends the numbers in these columns of `header`. They are what a reader of `append_row`'s text gets: the double,
// rounded to float32; NaN for what is not finite then. Throws std::out_of_range for a column of text.
void append_numbers(std::vector<float>& out, const Flow& flow, const Profile& profile,
                    std::span<const std::size_t> columns);

// Appends these columns' cells, with commas between them, and where each begins and ends in `out`. Those of `header`
// are as `append_row` writes them in UTC, but for addresses of IPv6. Throws std::out_of_range for a column that is
// none.
void append_cells(std::string& out, std::vector<std::int64_t>& ends, const Flow& flow, const Profile& profile,
                  std::span<const std::size_t> columns);

}  // namespace etcc::meter
