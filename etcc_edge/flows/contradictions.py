"""Why the numbers of a flows file contradict each other, guessed from a few of its rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from etcc_edge.arrays import F64
from etcc_edge.flows.text.header import cell_number

# A point before each group of three digits, as in 1.234.567.
_POINTS = re.compile(r"[+-]?\d{1,3}(\.\d{3}){2,}")
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "minutes": 60.0, "hours": 3600.0}


def likely_cause(rows: Sequence[Mapping[str, str]], broken_share: float, units: tuple[str, str]) -> str:
    """What most likely happened to a file whose durations and gaps are in ``units``, as a clause: from some of the rows
    that contradict themselves, each the cells of its features by canonical name, and the share of such rows in the
    file."""
    if any(_POINTS.fullmatch(cell.strip()) for row in rows for cell in row.values()):
        return "numbers are written with points for thousands; write them without"
    values = {name: np.array([cell_number(row.get(name, "")) for row in rows]) for name in rows[0]} if rows else {}
    # Ports and IP protocol are often left as they are.
    measured = [column for name, column in values.items() if name not in ("src_port", "dst_port", "ip_protocol")]
    numbers = np.concatenate([*measured, np.empty(0)])
    numbers = numbers[np.isfinite(numbers)]
    if broken_share > 0.5 and numbers.size:
        if numbers.min() >= 0 and numbers.max() <= 1:
            return "the numbers are scaled to 0 … 1 (min-max); label the numbers that the meter wrote"
        if np.abs(numbers).max() < 40 and (numbers != np.floor(numbers)).mean() > 0.3:
            return "the numbers are logarithms or standardized; label the numbers that the meter wrote"
    duration_unit, gap_unit = _units(values, units[0])
    if duration_unit not in ("", units[0]):
        return f"some durations are in {duration_unit}, others are not; write all in one unit"
    if gap_unit not in ("", units[1]):
        return f"some inter-arrival times are in {gap_unit}, others are not; write all in one unit"
    if duration_unit:
        return "some columns were changed after the meter wrote them, those of times not; label the meter's own file"
    return "columns are mixed up: two files with other column orders one after the other, say; label them apart"


def _units(values: Mapping[str, F64], duration_unit: str) -> tuple[str, str]:
    """The units of most rows' durations, and of gaps where durations are in ``duration_unit``; empty where there is
    none."""
    if not {"flow_duration", "flow_packets_per_s"} <= values.keys():
        return "", ""
    duration, gap = values["flow_duration"], values.get("flow_iat_mean")
    with np.errstate(all="ignore"):
        if {"fwd_packets", "bwd_packets"} <= values.keys():
            packets = values["fwd_packets"] + values["bwd_packets"]
        elif gap is not None:
            packets = duration / gap + 1
        else:
            return "", ""
        seconds = packets / (duration * values["flow_packets_per_s"])
        lasting = duration * _SECONDS[duration_unit]
        of_gaps = np.empty(0) if gap is None else lasting / (gap * (lasting * values["flow_packets_per_s"] - 1))
    return _unit(seconds), _unit(of_gaps)


def _unit(seconds: F64) -> str:
    """The one that most of these lengths are near; empty where there is none."""
    seconds = seconds[np.isfinite(seconds) & (seconds > 0)]
    for unit, size in _SECONDS.items():
        if seconds.size and np.mean(np.abs(np.log(seconds / size)) < 0.05) > 0.5:
            return unit
    return ""
