"""Evidence of many flows summed: what a host, a subnet or a whole capture did in a stretch of time.

A label of one small flow says little. A window sums what all of its flows say, and its answer is right far more often.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, BinaryIO

import numpy as np

from etcc_edge.arrays import F64, I64, Bools, Text
from etcc_edge.engines.result import Result
from etcc_edge.errors import FlowsError
from etcc_edge.flows.batch import Batch
from etcc_edge.flows.columns import ColumnFlows
from etcc_edge.flows.identity import microseconds, puts_month_first
from etcc_edge.flows.labels import label_columns
from etcc_edge.flows.text.header import cell_number, csv_cell

HOST, SUBNET, CAPTURE = "host", "subnet", "capture"
SOURCE, DESTINATION, BOTH = SIDES = "src", "dst", "both"
MAX_OPEN = 100_000
"""Windows that are kept open at most: about 15 MB."""

_PACKETS = ("fwd_packets", "bwd_packets")
_BYTES = ("fwd_packet_length_total", "bwd_packet_length_total")  # of payload
_PREFIX_BITS = {4: 24, 6: 64}
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
NO_TIME = np.iinfo(np.int64).min


@dataclass(frozen=True)
class SumBy:
    """What flows are summed by. ``key``: `HOST`, `SUBNET` (the host's /24, or /64 of IP 6) or `CAPTURE` (the whole
    input); ``span``: microseconds, windows start at its multiples; 0: one window for all times. ``side``: the host that
    a flow counts for: `SOURCE` of its first packet, `DESTINATION`, or `BOTH`."""

    key: str
    span: int
    side: str = SOURCE

    @classmethod
    def of(cls, text: str, side: str = SOURCE) -> SumBy:
        """From ``KEY,SPAN`` such as ``host,5min``; a capture may go without span. Raises FlowsError."""
        key, comma, span = text.replace(" ", "").partition(",")
        number = re.fullmatch(r"(\d{1,6})(s|min|h|d)", span)
        whole = key == CAPTURE and not comma
        if key not in (HOST, SUBNET, CAPTURE) or not (whole or (number and int(number[1]))):
            raise FlowsError(f"cannot sum by {text!r}; write {HOST},5min or {SUBNET},1h or {CAPTURE}, for example")
        return cls(key, int(number[1]) * _SECONDS[number[2]] * 1_000_000 if number else 0, side)

    def keys(self, sources: Text, destinations: Text, capture: str) -> list[Text]:
        """The keys [n] that flows count for, one list a side. ``sources``, ``destinations``: addresses [n]."""
        if self.key == CAPTURE:
            return [np.full(len(sources), capture)]
        sides = {SOURCE: [sources], DESTINATION: [destinations], BOTH: [sources, destinations]}[self.side]
        return sides if self.key == HOST else [_subnets(addresses) for addresses in sides]


def _subnets(addresses: Text) -> Text:
    """Of addresses [n]; what is no address stays as it is."""
    import ipaddress

    def subnet(text: str) -> str:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return text
        return str(ipaddress.ip_network((address, _PREFIX_BITS[address.version]), strict=False))

    names, which = np.unique(addresses, return_inverse=True)
    subnets: Text = np.array([subnet(name) for name in names.tolist()], np.str_)[which]
    return subnets


@dataclass(frozen=True)
class Evidence:
    """The flows of one batch by window, w of them: ``keys`` and ``starts`` (microseconds since 1970) name a window.
    ``flows``, ``packets``, ``bytes``: [w]; ``levels``: float64 [w, labels] each."""

    keys: list[str]
    starts: list[int]
    flows: F64
    packets: F64
    bytes: F64
    levels: list[F64]
    without_time: int = 0
    month_first: int = 0


@dataclass(frozen=True)
class Window:
    """What the flows of a window say together. ``labels`` and ``confidence`` by level: the label with the most
    evidence and its share of all; empty and NaN where no flow had a label."""

    key: str
    start: int  # microseconds since 1970; 0 where all times are one window
    flows: int
    packets: float
    bytes: float
    labels: tuple[str, ...]
    confidence: tuple[float, ...]


class WindowColumns:
    """What windows need of a source beside its labels, as text columns. ``texts``: those to be asked for, the ones
    ``before`` that others need first. ``services``: the labels that a rule gives, not a network. Raises FlowsError
    where the source lacks a column."""

    def __init__(
        self, by: SumBy, flows: ColumnFlows[Any], services: Collection[str], before: Sequence[int] = ()
    ) -> None:
        sides = {SOURCE: ["source"], DESTINATION: ["destination"], BOTH: ["source", "destination"]}[by.side]
        identifiers = [*(sides if by.key != CAPTURE else []), *(["time"] if by.span else [])]
        if lacking := [name for name in identifiers if name not in flows.identifiers]:
            raise FlowsError(f"{flows.place}: has no column of {' and '.join(lacking)}, by which flows are summed")
        if lack := flows.lack([*_PACKETS, *_BYTES]):
            raise FlowsError(f"{flows.place}: lacks {lack}, by which flows are weighed")
        columns = {name: flows.identifiers[name] for name in identifiers}
        columns |= {name: flows.reading.columns[name] for name in (*_PACKETS, *_BYTES)}
        self.texts = list(dict.fromkeys([*before, *columns.values()]))
        self._by = by
        self._services = services
        self._capture = flows.name
        self._places = {name: self.texts.index(column) for name, column in columns.items()}

    def evidence(self, batch: Batch, result: Result) -> Evidence:
        """What the flows of a batch say. Rows that could not be read count as flows and say nothing."""
        n = len(batch)
        cells = {name: batch.text(place) for name, place in self._places.items()}

        def total(names: Sequence[str]) -> F64:
            numbers = np.array([[cell_number(cell) for cell in cells[name]] for name in names]).reshape(len(names), n)
            sums: F64 = np.nan_to_num(numbers, posinf=0, neginf=0).sum(axis=0)
            return sums

        known = [microseconds(text) for text in cells.get("time", [])] or [0] * n
        times = [NO_TIME if time is None else time for time in known]
        hosts = [np.array(cells.get(name, [""] * n), np.str_) for name in ("source", "destination")]
        keys = self._by.keys(hosts[0], hosts[1], self._capture)
        start = np.array(times, np.int64)
        summed = evidence(self._by, keys, start, total(_PACKETS), total(_BYTES), result, self._services, batch.early)
        return replace(summed, month_first=sum(map(puts_month_first, cells.get("time", []))))


def evidence(
    by: SumBy,
    keys: Sequence[Text],
    times: I64,
    packets: F64,
    byte_counts: F64,
    result: Result,
    services: Collection[str] = (),
    early: Bools | None = None,
) -> Evidence:
    """Sums a batch of n flows by window. ``keys``: `SumBy.keys`. ``times``: int64 [n], microseconds since 1970,
    `NO_TIME` where there is none. Flows whose application is one of the ``services`` say nothing of it.
    ``early``: bool [n], rows that are no flow yet, and are left out.

    A flow weighs the square root of its packets. Its label gets the confidence as a share of that weight, and the
    other labels what is left, in equal parts. On sessions never seen that chose as well as the networks' whole
    distributions, which a cascade does not give.
    """
    final = np.ones(len(times), bool) if early is None else ~early
    timed = final & (times != NO_TIME) if by.span else final
    starts = times // by.span * by.span if by.span else np.zeros(len(times), np.int64)
    rows = np.concatenate([np.flatnonzero(timed)] * len(keys))
    names, key_of = np.unique(np.concatenate([side[timed] for side in keys]), return_inverse=True)
    pairs, window_of = np.unique(np.stack([key_of, starts[rows]]), axis=1, return_inverse=True)
    window_of, count = window_of.reshape(-1), pairs.shape[1]

    def summed(values: F64) -> F64:
        return np.bincount(window_of, values[rows], count).astype(np.float64)

    weight = np.sqrt(np.maximum(packets, 1))
    levels = []
    for depth, vocabulary in enumerate(result.vocabulary):
        code, confidence = result.codes[depth], result.confidence[depth].astype(np.float64)
        by_network = np.array([*(name not in services for name in vocabulary), False])
        speaks = by_network[code]  # the last place is that of no label
        rest = np.where(speaks, weight * (1 - confidence) / max(by_network.sum() - 1, 1), 0)
        total = summed(rest)[:, None] * by_network[:-1]
        spoken = speaks[rows]
        shares = (weight * confidence - rest)[rows][spoken]
        np.add.at(total, (window_of[spoken], code[rows][spoken]), shares)
        levels.append(total)
    return Evidence(
        keys=names[pairs[0]].tolist(),
        starts=pairs[1].tolist(),
        flows=summed(np.ones(len(times))),
        packets=summed(packets),
        bytes=summed(byte_counts),
        levels=levels,
        without_time=int((final & ~timed).sum()),
    )


@dataclass
class Windows:
    """Sums evidence over batches. ``vocabulary``: label names by level. Past ``most`` open windows the oldest are
    given; flows of theirs that come later are counted in ``late_flows`` and belong to no window. ``without_time``:
    flows whose time could not be read, which belong to none either."""

    vocabulary: tuple[tuple[str, ...], ...]
    most: int = MAX_OPEN
    late_flows: int = 0
    without_time: int = 0
    month_first: int = 0
    given: int = 0
    _rows: dict[tuple[int, str], int] = field(default_factory=dict)  # of open windows, by start and key
    _free: list[int] = field(default_factory=list)
    _figures: F64 = field(init=False)  # flows, packets, bytes, then the levels' labels side by side
    _closed: int | None = None  # no window of this start or an earlier one is opened again

    def __post_init__(self) -> None:
        self._figures = np.zeros((0, 3 + sum(map(len, self.vocabulary))))

    def add(self, part: Evidence) -> list[Window]:
        """Counts a batch's evidence, batches in order of their flows; the windows that had to be closed for it."""
        self.without_time += part.without_time
        self.month_first += part.month_first
        figures = np.column_stack([part.flows, part.packets, part.bytes, *part.levels])
        for start, key, figure in zip(part.starts, part.keys, figures, strict=True):
            row = self._rows.get((start, key))
            if row is None:
                if self._closed is not None and start <= self._closed:
                    self.late_flows += int(figure[0])
                    continue
                row = self._open(start, key)
            self._figures[row] += figure
        return self._close(len(self._rows) - self.most)

    def rest(self) -> list[Window]:
        """The windows that are still open, in order of their starts, then keys."""
        return self._close(len(self._rows))

    def _open(self, start: int, key: str) -> int:
        if not self._free:
            size = len(self._figures)
            self._figures = np.concatenate([self._figures, np.zeros((max(64, size), self._figures.shape[1]))])
            self._free = list(range(len(self._figures) - 1, size - 1, -1))
        row = self._rows[start, key] = self._free.pop()
        self._figures[row] = 0
        return row

    def _close(self, count: int) -> list[Window]:
        """At least ``count`` windows: the oldest, and all others of their last start."""
        if count <= 0:
            return []
        oldest = sorted(self._rows)
        self._closed = oldest[count - 1][0]
        names = [name for name in oldest if name[0] <= self._closed]
        self.given += len(names)
        return [self._window(*name) for name in names]

    def _window(self, start: int, key: str) -> Window:
        row = self._rows.pop((start, key))
        self._free.append(row)
        flows, packets, bytes_, *shares = self._figures[row].tolist()
        labels, confidence = [], []
        for names in self.vocabulary:
            level, shares = np.array(shares[: len(names)]), shares[len(names) :]
            total = level.sum()
            best = int(level.argmax())
            labels.append(names[best] if total else "")
            confidence.append(float(level[best] / total) if total else float("nan"))
        return Window(key, start, int(flows), packets, bytes_, tuple(labels), tuple(confidence))


class WindowWriter:
    """Writes windows as CSV: the key, the start in ISO 8601 UTC (empty where all times are one window), flows, packets,
    payload bytes, and for each level the label and its confidence."""

    def __init__(self, out: BinaryIO, by: SumBy, levels: tuple[str, ...]) -> None:
        self._out = out
        self._timed = by.span > 0
        self._write([by.key, "start", "flows", "packets", "bytes", *label_columns(levels)])

    def write(self, windows: Iterable[Window]) -> None:
        """In the given order."""
        for window in windows:
            labels = [
                cell
                for label, confidence in zip(window.labels, window.confidence, strict=True)
                for cell in (label, f"{confidence:.4f}" if label else "")
            ]
            start = _iso(window.start) if self._timed else ""
            self._write([window.key, start, str(window.flows), f"{window.packets:.0f}", f"{window.bytes:.0f}", *labels])

    def _write(self, cells: list[str]) -> None:
        self._out.write((",".join(map(csv_cell, cells)) + "\n").encode())


def _iso(time: int) -> str:
    moment = datetime(1970, 1, 1) + timedelta(microseconds=time)
    return moment.isoformat(timespec="seconds") + "Z"
