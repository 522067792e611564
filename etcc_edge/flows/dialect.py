"""Which dialect a file speaks and in which unit its times are: by its header, then by its values."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from etcc_edge.arrays import F64, Bools
from etcc_edge.flows.features import Dialect, dialects, features, header_key

# Canonical times are microseconds; a meter may write any of these.
_MICROSECONDS = {"us": 1.0, "ms": 1e3, "s": 1e6}
_ROUNDING = 0.01  # meters print few digits: a mean of equal gaps may come out a little below the least
FEWEST_NAMES = 5  # of a dialect that a header must hold to be taken for it

Values = Mapping[str, F64]  # canonical name -> values as written in the file
ReadSample = Callable[[Mapping[str, int]], Values]  # from canonical name -> cell index


@dataclass(frozen=True)
class Reading:
    """How a file is read: which cell holds which feature, and what brings it to the canonical unit. ``repeated``: the
    cells of each feature that several columns could hold; nothing says which one does. ``later_rows_tell``: the unit of
    times is assumed, and rows that come later may tell it."""

    dialect: Dialect
    columns: Mapping[str, int]
    factors: Mapping[str, float]
    time_unit: str  # of durations
    gap_unit: str  # of all other times
    notes: tuple[str, ...]
    repeated: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    later_rows_tell: bool = False


def recognise(cells: Sequence[str], read_sample: ReadSample) -> Reading | None:
    """The best reading of a header, or None where no dialect knows it.

    Dialects are ranked by the Jaccard index of their header names with the file's; equal ones (ISCXVPN2016
    wrote wrong names over right columns) by how many sample rows make sense: minimum ≤ mean ≤ maximum ≤ total.
    """
    keys = [header_key(cell) for cell in cells]
    present = frozenset(keys)

    def likeness(dialect: Dialect) -> float:
        return len(present & dialect.header_keys) / len(present | dialect.header_keys)

    known = [d for d in dialects() if len(present & d.header_keys) >= FEWEST_NAMES]
    if not known:
        return None
    best = max(map(likeness, known))
    candidates = [(d, _columns(d, keys)) for d in known if likeness(d) == best]
    samples = [read_sample(columns) for _, columns in candidates]
    shares = [_sensible_share(sample) for sample in samples]
    chosen = shares.index(max(shares))
    dialect, columns = candidates[chosen]
    units = _time_units(samples[chosen])
    duration_unit, gap_unit = units or ("us", "us")
    factors = {}
    for name in columns:
        unit = duration_unit if name == "flow_duration" else gap_unit
        factors[name] = _MICROSECONDS[unit] if features()[name].unit == "us" else 1.0
    notes = [dialect.note] if dialect.note else []
    others = [
        other.name
        for (other, other_columns), share in zip(candidates, shares, strict=True)
        if share == max(shares) and other_columns != columns
    ]
    if others and any(len(values) for values in samples[chosen].values()):
        notes.append(
            f"its rows do not show whether it is {dialect.name} or {' or '.join(others)}; it is read as {dialect.name}"
        )
    if units is None and any(len(values) for values in samples[chosen].values()):
        notes.append("its values do not tell the unit of times; microseconds are assumed")
    if duration_unit != gap_unit:
        notes.append(f"durations are in {duration_unit}, inter-arrival times in {gap_unit}, by their values")
    may_tell = units is None and {"flow_duration", "flow_packets_per_s"} <= columns.keys()
    repeated = _repeated(dialect, keys)
    return Reading(dialect, columns, factors, duration_unit, gap_unit, tuple(notes), repeated, may_tell)


def scaled(values: F64, factor: float) -> F64:
    """In the canonical unit; -1, which means none, stays."""
    return np.where(values == -1, values, values * factor)


def _columns(dialect: Dialect, keys: Sequence[str]) -> dict[str, int]:
    # The first of several equal header names counts (CIC-IDS2017 repeats "Fwd Header Length").
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    return {
        name: next(first[key] for key in names if key in first)
        for name, names in dialect.columns.items()
        if any(key in first for key in names)
    }


def _repeated(dialect: Dialect, keys: Sequence[str]) -> dict[str, tuple[int, ...]]:
    cells = {
        name: tuple(i for i, key in enumerate(keys) if key in names and key not in dialect.repeated)
        for name, names in dialect.columns.items()
    }
    return {name: places for name, places in cells.items() if len(places) > 1}


def _sensible_share(sample: Values) -> float:
    """Share of the comparable pairs of values that are in order; -1 and other negatives mean "none".

    A direction without gaps has -1 for both the least and the most.
    """
    right = total = 0
    for direction in ("flow", "fwd", "bwd"):
        rising = [f"{direction}_iat_{part}" for part in ("min", "mean", "max", "total")]
        present = [sample[name] for name in rising if name in sample]
        for low, high in itertools.pairwise(present):
            comparable = (low >= 0) & (high >= 0)
            total += int(comparable.sum())
            right += int((comparable & (low <= high * (1 + _ROUNDING))).sum())
        if (least := sample.get(f"{direction}_iat_min")) is not None and f"{direction}_iat_max" in sample:
            most = sample[f"{direction}_iat_max"]
            total += int(((least == -1) | (most == -1)).sum())
            right += int(((least == -1) & (most == -1)).sum())
    return right / total if total else 0.0


def _time_units(sample: Values) -> tuple[str, str] | None:
    """Units of durations and of inter-arrival times; None where the values do not tell.

    packets = rate × duration gives the one; mean inter-arrival time × (packets - 1) = duration gives the other. Where
    packets are not counted, it is the one unit in which both hold, else the smallest in which flows have at least one
    packet.
    """
    with np.errstate(all="ignore"):
        duration, rate = sample.get("flow_duration"), sample.get("flow_packets_per_s")
        if duration is None or rate is None:
            return None
        usable = (duration > 0) & (rate > 0) & np.isfinite(duration * rate)
        if not usable.any():
            return None
        per_unit = (duration * rate)[usable] * 1e-6  # packets, if the unit were a microsecond
        if "fwd_packets" in sample and "bwd_packets" in sample:
            packets = (sample["fwd_packets"] + sample["bwd_packets"])[usable]
            unit = _nearest_unit(_median(packets / per_unit))
        elif (common := _common_unit(sample, usable, per_unit)) is not None:
            return common, common
        else:
            fits = (u for u, factor in _MICROSECONDS.items() if np.mean(per_unit * factor >= 0.9) > 0.95)
            unit = next(fits, "us")
            packets = per_unit * _MICROSECONDS[unit]
        iat = sample.get("flow_iat_mean")
        if iat is None:
            return unit, unit
        gaps = iat[usable] * (packets - 1)
        usable_gaps = (packets > 1.5) & (gaps > 0)
        if not usable_gaps.any():
            return unit, unit
        ratio = _median(duration[usable][usable_gaps] / gaps[usable_gaps])
        return unit, _nearest_unit(ratio * _MICROSECONDS[unit])


def _common_unit(sample: Values, usable: Bools, per_unit: F64) -> str | None:
    """The unit of durations and of gaps in which packets, by rate and duration, fit nearly all mean gaps."""
    if "flow_iat_mean" not in sample:
        return None
    gaps = sample["flow_iat_mean"][usable]
    told = gaps > 0
    packets = sample["flow_duration"][usable][told] / gaps[told] + 1  # in any unit, as long as it is one
    for unit, factor in _MICROSECONDS.items():
        fit = np.abs(per_unit[told] * factor / packets - 1) <= _ROUNDING
        if told.any() and np.mean(fit) > 0.95:
            return unit
    return None


def _median(values: F64) -> float:
    """Of what is not NaN. numpy's would import np.ma, which takes longer than all else here."""
    known = np.sort(values[~np.isnan(values)])
    return float(known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2 if len(known) else float("nan")


def _nearest_unit(microseconds: float) -> str:
    if not (np.isfinite(microseconds) and microseconds > 0):
        return "us"
    return min(_MICROSECONDS, key=lambda unit: abs(float(np.log(_MICROSECONDS[unit] / microseconds))))
