"""The states of CICFlowMeter that the native meter follows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """``timeout``: seconds from a flow's first packet. ``proven``: compared with what the Java program prints."""

    text: str
    timeout: float = 120.0
    proven: bool = False


PROFILES = {
    "darknet2020": Profile("the state of early 2020 that wrote CICDarknet2020", proven=True),
    "cicflowmeter-2021": Profile("the last state of the Java program's repository", proven=True),
    "fixed": Profile("the 2021 state, where the first packet's length counts once"),
    "iscx-15s": Profile("flows of at most 15 s, active and idle as durations", timeout=15.0),
}
DEFAULT = "darknet2020"
