// Flows as the Java meter's rows of text.
#pragma once

#include <cstdint>
#include <string>

#include "meter/flow.hpp"

namespace etcc::meter {

// The header's line: the names of all columns.
std::string header(const Profile& profile);

// Appends a line. `zone`: seconds to add to UTC for the row's timestamp.
void append_row(std::string& out, const Flow& flow, const Profile& profile, std::int64_t zone);

}  // namespace etcc::meter
