"""Canonical features and the header dialects that name them, read from ``features.csv``.

One row a feature: canonical name, unit, family, then the header name that each dialect gives it (several are
parted by ``;``, none is empty). IP addresses, Flow IDs and timestamps identify a capture and are no features.
Nor are the ``Idle`` columns of CICFlowMeter v4's two dialects, which hold absolute capture times.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from etcc_edge.errors import EtccError


@dataclass(frozen=True)
class Feature:
    name: str
    unit: str  # us, s^-1 rates, bytes, packets, ...
    family: str  # the rows of the paper's Table 1


@dataclass(frozen=True)
class Dialect:
    """How one meter, or one published data set, writes its header."""

    name: str
    meter: str  # bundles say for which meter's flows they were trained; empty: any may have written it
    columns: Mapping[str, tuple[str, ...]]  # canonical name -> header names, as `header_key` gives them
    protocol_label: str = ""  # the truth columns, where the dialect has them
    application_label: str = ""
    note: str = ""  # what a user of its flows should know
    repeated: frozenset[str] = frozenset()  # `header_key` of the columns that it writes twice, with equal values
    unusable: Mapping[str, str] = field(default_factory=dict)  # family of features -> why its columns are none

    @property
    def header_keys(self) -> frozenset[str]:
        return frozenset(key for keys in self.columns.values() for key in keys)


def header_key(name: str) -> str:
    """The form in which header names are compared: surrounding blanks and case do not matter."""
    return name.strip().casefold()


CANONICAL = "canonical"
"""The dialect whose columns have the canonical names themselves."""

_ABSOLUTE_IDLE = {"idle": "this meter writes absolute capture times there"}

_DIALECTS: tuple[dict[str, Any], ...] = (
    {
        "name": "cicdarknet2020",
        "meter": "CICFlowMeter",
        "protocol_label": "Label",
        "application_label": "Label.1",
        "unusable": _ABSOLUTE_IDLE,
    },
    {"name": "cicflowmeter-v4", "meter": "CICFlowMeter", "unusable": _ABSOLUTE_IDLE},
    {"name": "cicids2017", "meter": "CICFlowMeter", "repeated": frozenset(["fwd header length"])},
    {"name": "iscx2016-long", "meter": "ISCXFlowMeter"},
    {
        "name": "iscx2016-time",
        "meter": "ISCXFlowMeter",
        "protocol_label": "protocol",
        "application_label": "application",
    },
    {
        "name": "iscx2016-time-shifted",
        "meter": "ISCXFlowMeter",
        "note": "its header names eight inter-arrival columns wrongly; they are read by what they hold",
    },
    {
        "name": "cicflowmeter-python",
        "meter": "CICFlowMeter",
        "note": "this meter counts link and transport headers in packet lengths where CICFlowMeter counts payload "
        "only, so expect less accuracy than the model card says",
    },
    {"name": CANONICAL, "meter": "", "note": "its header has canonical names, so nothing says which meter wrote it"},
)


@cache
def _table() -> tuple[dict[str, str], ...]:
    text = Path(__file__).with_name("features.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


@cache
def features() -> Mapping[str, Feature]:
    """Every canonical feature by name, in the order of the table, which is the order within a network."""
    return {row["name"]: Feature(row["name"], row["unit"], row["family"]) for row in _table()}


@cache
def dialects() -> tuple[Dialect, ...]:
    def columns(dialect: str) -> dict[str, tuple[str, ...]]:
        if dialect == CANONICAL:
            return {name: (name,) for name in features()}
        return {
            row["name"]: tuple(header_key(name) for name in row[dialect].split(";")) for row in _table() if row[dialect]
        }

    return tuple(Dialect(columns=columns(entry["name"]), **entry) for entry in _DIALECTS)


# The families of the paper's 41 features (section 3.1); Idle is not among them.
_PAPER_FAMILIES = (
    *("port", "protocol", "duration", "length", "flow-length", "flow-bytes-rate", "packets-rate"),
    *("flow-iat", "fwd-iat", "bwd-iat", "flag-count", "active"),
)


def dialect_named(name: str) -> Dialect:
    return next(dialect for dialect in dialects() if dialect.name == name)


# Preset to what it holds, for `preset`.
PRESETS: Mapping[str, str] = {
    "paper": "the paper's families of features",
    "no-ports": "the same without the two ports",
    "time": "durations, rates, inter-arrival, active and idle times: what the ISCX 2016 files hold",
    "all": "every feature that the file has",
}


def preset(name: str, available: Sequence[str]) -> list[str]:
    """The features of a preset in the table's order.

    ``time`` and ``all`` take what is ``available``; ``paper`` and ``no-ports`` are fixed lists.
    """
    table = features()
    if name == "all":
        return [feature for feature in table if feature in available]
    if name == "time":
        time = {feature.name for feature in table.values() if feature.unit == "us"}
        time |= {"flow_bytes_per_s", "flow_packets_per_s"}
        return [feature for feature in table if feature in time and feature in available]
    if name in ("paper", "no-ports"):
        families = [family for family in _PAPER_FAMILIES if name == "paper" or family != "port"]
        return [feature.name for feature in table.values() if feature.family in families]
    raise EtccError(f"no feature preset {name!r}; there are {', '.join(PRESETS)}")
