"""The states of CICFlowMeter that the native meter follows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """``timeout``: seconds from a flow's first packet."""

    text: str
    timeout: float = 120.0


PROFILES = {
    "darknet2020": Profile("the state of early 2020 that wrote CICDarknet2020"),
    "cicflowmeter-2021": Profile("the last state of the Java program's repository"),
}
DEFAULT = "darknet2020"
