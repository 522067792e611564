"""A capture as a source of the pipeline: its flows with their features, and what identifies them as text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import Any

import numpy as np

from etcc_edge import _native
from etcc_edge.arrays import Bools
from etcc_edge.errors import FlowsError
from etcc_edge.flows.batch import OK
from etcc_edge.flows.binaries import name_packed
from etcc_edge.flows.columns import ColumnFlows
from etcc_edge.flows.dialect import Reading
from etcc_edge.flows.features import Dialect, dialect_named, features, header_key
from etcc_edge.flows.stream import ByteStream
from etcc_edge.flows.text.header import Header
from etcc_edge.flows.text.reader import TextBatch
from etcc_edge.meter.capture import MAX_FLOWS, PROFILES, MeteredCapture, default_timeout

_OTHER_METERS = {"iscx-15s": "ISCXFlowMeter"}
_BATCH = 2048  # flows; then a call for each batch costs little
_LARGEST_BATCH = 1 << 14  # where all open flows end at once

# What identifies a flow: our name of a column to the meter's. The meter's text of a count is that of a double, so the
# counts have columns of their own.
_KEY = {
    "src_ip": "Src IP",
    "src_port": "Src Port",
    "dst_ip": "Dst IP",
    "dst_port": "Dst Port",
    "ip_protocol": "Protocol",
    **{name: name for name in ("community_id", "start", "duration_s")},
    **{name: name for name in ("fwd_packets", "bwd_packets", "fwd_bytes", "bwd_bytes")},
}
# By these a flow in a file of the command meter and the same flow in a capture know each other.
_IN_FILES = {"flow_id": "Flow ID", "timestamp": "Timestamp"}


def meter_of(profile: str) -> str:
    """The meter that a profile follows, as bundles name it."""
    return _OTHER_METERS.get(profile, "CICFlowMeter")


def _dialect(profile: str) -> Dialect:
    """Which of the meter's columns a feature is, by the table of features. The other meter's idle times are
    durations."""
    dialect = dialect_named("cicdarknet2020")
    if meter_of(profile) == dialect.meter:
        return dialect
    idle = {
        name: keys for name, keys in dialect_named("cicids2017").columns.items() if features()[name].family == "idle"
    }
    return replace(dialect, meter=meter_of(profile), columns={**dialect.columns, **idle}, unusable={})


VERDICT = "verdict"
"""The column that says whether a row is an early look at an open flow or the flow itself."""


@dataclass(frozen=True)
class After:
    """When an open flow of two packets or more is looked at early: once it has so many ``packets``, or is so many
    ``seconds`` old by the packets' clock, whichever comes first; 0: not by that."""

    packets: int = 0
    seconds: float = 0.0


def flow_columns(profile: str, *, verdict: bool = False) -> tuple[dict[str, int], dict[str, int]]:
    """Where in `_native.meter_columns` a profile has the features, and what identifies a flow, with the
    ``verdict`` or without."""
    names = _native.meter_columns(profile)
    places = {header_key(name): place for place, name in enumerate(names)}
    # The dialect's column of the table of features is what says which of the meter's columns a feature is.
    numbers = {
        name: next(places[key] for key in keys if key in places)
        for name, keys in _dialect(profile).columns.items()
        if any(key in places for key in keys)
    }
    own = {**_KEY, VERDICT: VERDICT} if verdict else _KEY
    return numbers, {name: names.index(meters) for name, meters in {**own, **_IN_FILES}.items()}


@dataclass(frozen=True)
class CaptureBatch(TextBatch):
    """Consecutive flows of a capture. ``columns``: the names that `column` knows."""

    flows: _native.Flows = field(repr=False)
    columns: tuple[str, ...] = field(repr=False)
    _cells: tuple[int, ...] = field(repr=False)

    @property
    def early(self) -> Bools | None:
        return self.flows.early if VERDICT in self.columns else None

    def column(self, name: str) -> list[str]:
        """One of the capture's columns as text [n], such as ``community_id``. Raises ValueError for another name."""
        if name not in self.columns:
            raise ValueError(f"no column {name!r}; there are {', '.join(self.columns)}")
        text, ends = self.flows.cells([self._cells[self.columns.index(name)]])
        return [text[begin:end].decode() for begin, end in ends[:, 0].tolist()]


class CaptureSource(ColumnFlows[CaptureBatch]):
    """The flows of a capture (pcap or pcapng, also in gzip or zip; ``-`` is standard input), by its path or opened.

    Its columns are what identifies a flow, then all features by their canonical names. ``profile`` and ``timeout``
    (seconds) say how packets become flows; `follow` sets what is None. A flow of one packet is none. With ``after``,
    an open flow is looked at early as well, and the column ``verdict`` says which rows are early and which are final.
    ``problem``: what ended the capture early, in a clause; empty where it is whole. `raise_problem` is for those who
    need all of it. Raises FlowsError for an unknown profile, and for a file that cannot be opened.
    """

    def __init__(
        self,
        capture: str | os.PathLike[str] | ByteStream,
        profile: str | None = None,
        *,
        timeout: float | None = None,
        after: After | None = None,
        max_flows: int = MAX_FLOWS,
    ) -> None:
        if not isinstance(capture, ByteStream):
            capture = ByteStream(capture, name_foreign=name_packed)
        super().__init__(capture.name)
        self._stream = capture
        self._position = 0
        self.of_ip6 = self.early = 0  # flows and early looks so far
        self.after = after
        self.asked_profile, self.asked_timeout = profile, timeout
        self._max_flows = max_flows
        self._counting = Lock()
        self.follow(PROFILES[0], default_timeout(profile or PROFILES[0]))

    def follow(self, profile: str, timeout: float) -> None:
        """Cuts flows by this profile and timeout in seconds, where no others were asked for. Before the first batch."""
        self.profile = profile if self.asked_profile is None else self.asked_profile
        self.timeout = timeout if self.asked_timeout is None else self.asked_timeout
        after = self.after or After()
        self._metered = MeteredCapture(
            self._stream,
            self.profile,
            timeout=self.timeout,
            max_flows=self._max_flows,
            after_packets=after.packets,
            after_seconds=after.seconds,
        )
        dialect = _dialect(self.profile)
        self._numbers, own = flow_columns(self.profile, verdict=self.after is not None)
        self._key = tuple(range(len(own) - len(_IN_FILES)))
        cells = own | {name: place for name, place in self._numbers.items() if name not in own}
        self.cells = self.columns = tuple(cells)
        self._cells = tuple(cells.values())
        columns = {name: self.columns.index(name) for name in features() if name in self._numbers}
        self.reading = Reading(dialect, columns, dict.fromkeys(columns, 1.0), "us", "us", ())

    @property
    def header(self) -> Header:
        """Of a labelled file with all columns."""
        return Header(self.columns, ",".join(self.columns).encode(), b"\n", 0, 0, "")

    @property
    def place(self) -> str:
        return self.name

    def _contradictory(self) -> list[Mapping[str, str]]:
        return []  # the meter's own numbers agree

    def key_columns(self) -> tuple[int, ...]:
        return self._key

    @property
    def form(self) -> str:
        """The profile's name."""
        return self.profile

    @property
    def size(self) -> int | None:
        """Bytes on disk, or None for a stream."""
        return self._stream.size

    def position(self) -> int:
        """Bytes on disk that were read so far."""
        return self._position

    @property
    def problem(self) -> str:
        return self._metered.problem

    def raise_problem(self) -> None:
        """Raises FlowsError where the capture ended early."""
        if self.problem:
            raise FlowsError(f"{self.name}: {self.problem}; its flows up to there were given")

    @property
    def evicted(self) -> int:
        """Flows that ended early, since too many were open."""
        return self._metered.meter.evicted

    def summary(self) -> dict[str, Any]:
        """How the capture was cut, and what the meter met so far."""
        meter = self._metered.meter
        return {
            "profile": self.profile,
            "timeout_s": self.timeout,
            "packets": meter.packets,
            "bytes": self._metered.bytes,
            "skipped": meter.skipped,
            "flows_of_one_packet": meter.lone,
            "flows_of_ip6": self.of_ip6,
            "early_looks": self.early,
            "evicted": meter.evicted,
        }

    def close(self) -> None:
        self._stream.close()

    def unparsed_batches(
        self, features: Sequence[str], texts: Sequence[int] = (), *, strict: bool = False
    ) -> Iterator[Callable[[], CaptureBatch] | None]:
        """A call for each batch of these features and text columns, and None where the input pauses; ``strict`` changes
        nothing, since every flow can be read. Raises FlowsError for a feature that there is not, and for a capture that
        is damaged before its first packet."""
        self._check_has(features)
        numbers = [self._numbers[name] for name in features]
        cells = [self._cells[column] for column in texts]
        # Of a stream, nobody knows when it ends: what has come goes on its way.
        for flows in self._metered.flows(self._note_position, least=1 if self.size is None else _BATCH):
            first = self.counts.rows + self.early
            early = int(np.count_nonzero(flows.early)) if self.after else 0
            self.early += early
            self.counts.rows += len(flows) - early
            self.of_ip6 += flows.of_ip6
            for begin in range(0, len(flows), _LARGEST_BATCH):
                part = flows.part(begin, min(begin + _LARGEST_BATCH, len(flows)))
                yield partial(self._batch, part, first + begin + 1, tuple(features), numbers, cells)
            if self._stream.paused:
                yield None

    def _note_position(self, position: int, _: int | None) -> None:
        self._position = position

    def _batch(
        self, flows: _native.Flows, number: int, names: tuple[str, ...], numbers: list[int], cells: list[int]
    ) -> CaptureBatch:
        n = len(flows)
        values = flows.numbers(numbers)
        missing = int(np.isnan(values).any(axis=1).sum())
        if missing:
            with self._counting:
                self.counts.with_missing_values += missing
        block, texts = flows.cells(cells)
        spans = np.stack([texts[:, 0, 0], texts[:, -1, 1]], axis=1) if cells else np.zeros((n, 2), np.int64)
        return CaptureBatch(
            names=names,
            features=values,
            status=np.full(n, OK, np.uint8),
            spans=spans,
            cells=np.full(n, len(cells), np.int32),
            line=np.arange(number, number + n),
            block=block,
            texts=texts,
            _fault=np.full(n, -1, np.int32),
            flows=flows,
            columns=self.columns,
            _cells=self._cells,
        )
