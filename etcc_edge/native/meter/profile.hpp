// What tells one meter from another, as data.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace etcc::meter {

enum class End : std::uint8_t {
  any_fin,            // the first FIN, from either side
  server_fin_or_rst,  // a FIN from the server, or any RST
  next_syn,           // the SYN after FINs from both sides or after a RST
};

struct Profile {
  std::string_view name;
  bool is_proven = true;               // compared with what its program prints
  std::int64_t timeout = 120'000'000;  // microseconds from a flow's first packet
  End end = End::any_fin;
  bool gaps_part_subflows = false;      // more than a second; false: every packet begins a subflow
  bool absolute_idle = true;            // the arithmetic of idle times mixes instants with durations
  std::int64_t idle_after = 5'000'000;  // microseconds
  bool gap_is_active = false;           // an active time lasts until the packet after its gap
  int no_time = 0;                      // least and largest of times that a flow has none of
  bool backward_bulk_bytes = false;     // false: the forward bytes, always 0, stand there
  bool is_corrected = false;            // as Engelen et al. correct it; docs/meter.md says in what
  std::string_view cwr_column = "CWR Flag Count";
};

inline constexpr std::array profiles{
    Profile{.name = "darknet2020", .cwr_column = "CWE Flag Count"},
    Profile{.name = "cicflowmeter-2021",
            .end = End::server_fin_or_rst,
            .gaps_part_subflows = true,
            .absolute_idle = false,
            .backward_bulk_bytes = true},
    Profile{.name = "fixed",
            .is_proven = false,
            .end = End::next_syn,
            .gaps_part_subflows = true,
            .absolute_idle = false,
            .backward_bulk_bytes = true,
            .is_corrected = true},
    Profile{.name = "iscx-15s",
            .is_proven = false,
            .timeout = 15'000'000,
            .gaps_part_subflows = true,
            .absolute_idle = false,
            .idle_after = 1'000'000,
            .gap_is_active = true,
            .no_time = -1},
};

}  // namespace etcc::meter
