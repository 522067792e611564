// What tells one state of CICFlowMeter from another, as data.
#pragma once

#include <array>
#include <string_view>

namespace etcc::meter {

struct Profile {
  std::string_view name;
  bool any_fin_ends = true;          // false: a FIN from the server or any RST ends a flow
  bool gaps_part_subflows = false;   // more than a second; false: every packet begins a subflow
  bool absolute_idle = true;         // the arithmetic of idle times mixes instants with durations
  bool backward_bulk_bytes = false;  // false: the forward bytes, always 0, stand there
  std::string_view cwr_column = "CWE Flag Count";
};

inline constexpr std::array profiles{
    Profile{.name = "darknet2020"},
    Profile{.name = "cicflowmeter-2021",
            .any_fin_ends = false,
            .gaps_part_subflows = true,
            .absolute_idle = false,
            .backward_bulk_bytes = true,
            .cwr_column = "CWR Flag Count"},
};

}  // namespace etcc::meter
