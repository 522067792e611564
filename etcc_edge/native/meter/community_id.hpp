// Community ID, version 1, seed 0: the name by which Zeek, Suricata and others know a flow.
#pragma once

#include <string>

#include "meter/flow.hpp"

namespace etcc::meter {

// Appends it; nothing for a flow that is neither TCP nor UDP, since the meter keeps no type and code of ICMP.
void append_community_id(std::string& out, const Flow& flow);

}  // namespace etcc::meter
