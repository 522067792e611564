// The decoder of the Java meter: CICFlowMeter over jnetpcap 1.4, with all that it takes for IPv4.
#pragma once

#include "meter/decoder.hpp"

namespace etcc::meter {

// Every frame is taken for Ethernet, as Java takes it. `packet` holds the frame's time already.
Skip decode_strict(const Frame& frame, Packet& packet);

}  // namespace etcc::meter
