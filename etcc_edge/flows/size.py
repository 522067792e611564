"""How large flows are: packets and payload bytes, from the features that every meter gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etcc_edge.arrays import F32

_DURATION, _PACKETS, _BYTES = "flow_duration", "flow_packets_per_s", "flow_bytes_per_s"
_SECOND = np.float32(1e-6)  # a microsecond


def packets(raw: F32, features: Sequence[str]) -> F32 | None:
    """float32 [n], whole numbers: rate times duration of raw features float32 [n, f] of these names. NaN for a flow
    without duration, which has no rate; None where the features do not tell."""
    return _amount(raw, features, _PACKETS)


def payload_bytes(raw: F32, features: Sequence[str]) -> F32 | None:
    """The same of bytes."""
    return _amount(raw, features, _BYTES)


def _amount(raw: F32, features: Sequence[str], rate: str) -> F32 | None:
    if _DURATION not in features or rate not in features:
        return None
    duration, a_second = (raw[:, features.index(name)] for name in (_DURATION, rate))
    with np.errstate(over="ignore", invalid="ignore"):
        amount: F32 = np.rint(duration * _SECOND * a_second)
    return amount
