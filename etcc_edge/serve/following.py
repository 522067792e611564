"""A file that another program writes: what has come to it, as labelled flows."""

from __future__ import annotations

import ipaddress
import math
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Protocol

from etcc_edge import _native
from etcc_edge.bundle import Bundle
from etcc_edge.bundle.model import VIEWS
from etcc_edge.engines.result import Result
from etcc_edge.errors import FlowsError
from etcc_edge.flows.binaries import SIGNATURE_BYTES, is_capture
from etcc_edge.flows.identity import microseconds
from etcc_edge.flows.stream import ByteStream
from etcc_edge.flows.text.header import cell_number
from etcc_edge.flows.text.reader import FlowFile, TextBatch
from etcc_edge.infer.classifier import Classifier
from etcc_edge.infer.source import misfits, pick
from etcc_edge.serve.metering import Metered, Metering
from etcc_edge.serve.progress import Place

_PIECE = 1 << 20  # bytes that are read at once
_FLOWS = 2048  # of a capture that are labelled at once
_START = 2 << 20  # holds the header and the first row
_ROWS_QUIET_SECONDS = 120.0
_ROWS_THAT_TELL = 100  # whether the file as a whole contradicts itself
CAPTURE_SUFFIXES = (".pcap", ".pcapng", ".cap")
_EVER = 1 << 53  # microseconds; all flows are over by then
_FINAL = "final"
_EPOCH = datetime(1970, 1, 1)

Classifiers = Callable[[Bundle | str], Classifier]


@dataclass(frozen=True)
class Part:
    """Labelled flows of one file, n of them, in order. ``cells``: what says which they are, [n, names]. ``lines`` [n]:
    where each is, or its number in a capture. ``numbers`` and ``offsets`` [n]: how far the file is done with each of
    them, as `Place` has it."""

    cells: list[list[str]]
    bundle: Bundle
    result: Result
    lines: Sequence[int]
    numbers: Sequence[int]
    offsets: Sequence[int]


class Followed(Protocol):
    """A file that is read as it grows. ``offset``: what comes next. ``quiet_seconds``: after so long, nothing more
    belongs to what came. ``notes``: what its owner should know; `sum_up` adds to them."""

    offset: int
    quiet_seconds: float
    notes: list[str]

    def read(self, descriptor: int) -> Iterator[Part]:
        """Some of what has come. Raises FlowsError for what cannot be read."""

    def rest(self, descriptor: int | None) -> Iterator[Part]:
        """What waits for more, which does not come. None: the file is gone."""

    def sum_up(self) -> None:
        """Notes what gave no record, as far as that is not noted yet."""


def follow(
    descriptor: int,
    name: str,
    place: Place,
    wanted: str,
    classifiers: Classifiers,
    names: Sequence[str],
    max_flows: int,
) -> Followed | None:
    """The open file called ``name`` from its ``place`` on, or None where it does not say yet what it is. ``wanted``: a
    bundle, or auto. ``names``: of the columns that say which flow it is. Raises FlowsError for what cannot be
    followed, and BundleError."""
    start = os.pread(descriptor, _START, 0)
    if len(start) < SIGNATURE_BYTES:
        return None
    if is_capture(start):
        return _Packets(name, place, classifiers("default" if wanted == "auto" else wanted), names, max_flows)
    if os.path.splitext(name)[1].lower() in CAPTURE_SUFFIXES:
        raise FlowsError(f"{name}: is no pcap or pcapng capture; if it is a compressed one, unpack it")
    if start.count(b"\n") < 2 and len(start) < _START:  # units are told by a row
        return None
    return _Rows(descriptor, name, place, wanted, classifiers, names)


class _Rows:
    """Of a flows CSV or ARFF file. While its rows do not tell the unit of times, they wait for others that do."""

    quiet_seconds = _ROWS_QUIET_SECONDS

    def __init__(
        self, descriptor: int, name: str, place: Place, wanted: str, classifiers: Classifiers, names: Sequence[str]
    ) -> None:
        self.notes: list[str] = []
        self._name = name
        self._place = place
        self._wanted = wanted
        self._classifiers = classifiers
        self._names = names
        self._warned = False
        self._waiting = b""  # in case that the file is removed
        self._understand(descriptor)

    def _understand(self, descriptor: int) -> None:
        stream = ByteStream(f"/proc/self/fd/{descriptor}", name=self._name)
        with FlowFile(stream) as file:
            if stream.packing:
                raise FlowsError(
                    f"{self._name}: is {stream.packing} data, which does not grow; label it with etcc-edge infer"
                )
            self._waits = file.waits_for_unit
            bundle, reason = pick(file, self._wanted)
        self.offset = self._place.offset or file.header.end
        self._line = (self._place.number or file.header.lines) + 1
        self._file = file
        self._classifier = self._classifiers(bundle)
        self._cells = _CellsOfRows(file, self._names)
        self._what = [f"{file.form} flows, times in {file.reading.time_unit}; bundle {bundle.name} ({reason})"]
        self._what += [f"warning: {note}" for note in (*file.reading.notes, *misfits(file, bundle))]
        if not self._waits:
            self._begin()
        elif not self._waiting:
            self.notes.append("its rows do not tell the unit of times yet; waiting for more, or until it is quiet")
        self._waiting = os.pread(descriptor, _START, 0) if self._waits else b""

    def _begin(self) -> None:
        """What is understood holds from now on."""
        self._waits = False
        self.notes += self._what

    def read(self, descriptor: int) -> Iterator[Part]:
        if self._waits:
            self._understand(descriptor)
        return iter(()) if self._waits else self._whole_rows(os.pread(descriptor, _PIECE, self.offset))

    def _whole_rows(self, rows: bytes) -> Iterator[Part]:
        end = rows.rfind(b"\n") + 1
        if not end and len(rows) == _PIECE:
            raise FlowsError(f"{self._file.name}:{self._line}: is longer than {_PIECE >> 20} MiB")
        return self._parts(rows[:end])

    def rest(self, descriptor: int | None) -> Iterator[Part]:
        if self._waits:
            self._begin()
            yield from self._whole_rows(self._waiting[self.offset :])
            self._waiting = b""
        if descriptor is not None:
            yield from self._parts(os.pread(descriptor, _PIECE, self.offset))
        self.sum_up()

    def sum_up(self) -> None:
        if not self._warned and (contradiction := self._file.contradiction()):
            self._warned = True
            self.notes.append(f"warning: {contradiction}")

    def _parts(self, rows: bytes) -> Iterator[Part]:
        begin, classifier = self.offset, self._classifier
        for batch, done, line in self._file.later_batches(rows, self._line, classifier.features, self._cells.columns):
            block = self.offset
            self.offset, self._line = begin + done, line
            if not len(batch):
                continue
            result = classifier.given(classifier.label(batch))
            # A row is done up to the begin of the next one.
            offsets = [block + place for place in batch.spans[1:, 0].tolist()] + [self.offset]
            numbers = [number - 1 for number in batch.line[1:].tolist()] + [line - 1]
            yield Part(self._cells.of(batch), classifier.bundle, result, batch.line.tolist(), numbers, offsets)
            if self._file.counts.rows >= _ROWS_THAT_TELL:
                self.sum_up()


class _CellsOfRows:
    """The texts that say which flow a row is. ``columns`` of the file hold them."""

    def __init__(self, file: FlowFile, names: Sequence[str]) -> None:
        seconds = file.reading.factors.get("flow_duration", 1.0) / 1e6
        forms: dict[str, Callable[[str], str]] = {
            **dict.fromkeys(_NUMBERS, _number),
            "duration_s": lambda text: _seconds(text, seconds),
            "start": _time,
            "src_ip": _address,
            "dst_ip": _address,
        }
        places = {name: file.reading.columns.get(feature) for name, feature in _NUMBERS.items()}
        places["duration_s"] = file.reading.columns.get("flow_duration")
        places |= {name: file.identifiers.get(identifier) for name, identifier in _IDENTIFIERS.items()}
        self.columns: list[int] = []
        self._ways: list[tuple[int, Callable[[str], str]] | str] = []  # a place among the columns, or a text
        for name in names:
            if (place := places.get(name)) is None:
                self._ways.append(_FINAL if name == "verdict" else "")
            else:
                self._ways.append((len(self.columns), forms[name]))
                self.columns.append(place)

    def of(self, batch: TextBatch) -> list[list[str]]:
        columns = []
        for way in self._ways:
            if isinstance(way, str):
                columns.append([way] * len(batch))
            else:
                place, form = way
                columns.append([form(text) for text in batch.text(place)])
        return [list(row) for row in zip(*columns, strict=True)]


# Our columns to the features, and to the `identity.IDENTIFIERS`, that hold the same.
_NUMBERS = {
    **{name: name for name in ("src_port", "dst_port", "ip_protocol", "fwd_packets", "bwd_packets")},
    "fwd_bytes": "fwd_packet_length_total",
    "bwd_bytes": "bwd_packet_length_total",
}
_IDENTIFIERS = {"src_ip": "source", "dst_ip": "destination", "start": "time"}


def _number(text: str) -> str:
    value = cell_number(text)
    if not math.isfinite(value):
        return ""
    return str(int(value)) if value.is_integer() else repr(value)


def _seconds(text: str, factor: float) -> str:
    value = cell_number(text) * factor
    return f"{value:.6f}" if math.isfinite(value) else ""


@lru_cache(maxsize=1 << 16)
def _time(text: str) -> str:
    """As the meter writes it; empty for what is no timestamp."""
    time = microseconds(text)
    if time is None:
        return ""
    return (_EPOCH + timedelta(microseconds=time)).isoformat(timespec="microseconds") + "Z"


@lru_cache(maxsize=1 << 16)
def _address(text: str) -> str:
    """Empty for what is no address."""
    try:
        return ipaddress.ip_address(text).compressed
    except ValueError:
        return ""


class _Packets:
    """Of a capture. The meter reads it from its begin, and leaves out the flows whose records are written."""

    def __init__(self, name: str, place: Place, classifier: Classifier, names: Sequence[str], max_flows: int) -> None:
        metering = Metering.of(classifier.bundle, max_flows)
        cut = f"{metering.profile}, up to {metering.timeout:g} s, {max_flows} at once"
        if place.number and place.cut not in ("", cut):  # its flows are known by their numbers alone
            raise FlowsError(
                f"{name}: {place.number} of its flows are written, cut as {place.cut}, and now they would be cut as "
                f"{cut}; start with the earlier --bundle and --max-flows, or name another --state"
            )
        place.cut = cut
        self.offset = 0
        self.quiet_seconds = metering.timeout
        bundle = classifier.bundle
        meaning = VIEWS.get(bundle.flow_definition.view)
        self.notes = [
            f"a capture, cut as {metering.profile} does; bundle {bundle.name}" + (f"; {meaning}" if meaning else "")
        ]
        self._classifier = classifier
        self._metered = Metered(metering.profile, names)
        self._meter = _native.Meter(
            metering.profile, round(metering.timeout * 1e6), False, max_flows, secrets.randbits(64)
        )
        self._place = place
        self._written = place.number
        self._number = 0  # of flows that the meter has given
        self._rests = 0  # that are passed
        self._noted = (0, 0)

    def read(self, descriptor: int) -> Iterator[Part]:
        rests = self._place.rests[self._rests :]
        piece = os.pread(descriptor, min(_PIECE, rests[0] - self.offset) if rests else _PIECE, self.offset)
        self.offset += len(piece)
        self._meter.feed(piece)
        if (rests and self.offset == rests[0]) or self._meter.problem:
            self._end_open_flows()
        yield from self._parts()
        if self._meter.problem:
            raise FlowsError(f"{self._meter.problem}; its flows up to there are labelled")

    def rest(self, descriptor: int | None) -> Iterator[Part]:
        if self._meter.open:
            self._place.rests.append(self.offset)
            self._end_open_flows()
            yield from self._parts()
        self.sum_up()

    def sum_up(self) -> None:
        skipped, evicted = counts = sum(self._meter.skipped.values()), self._meter.evicted
        if counts != self._noted:
            self._noted = counts
            self.notes.append(f"{skipped} packets of no flow; {evicted} flows ended early since too many were open")

    def _end_open_flows(self) -> None:
        self._rests += 1
        self._meter.expire(_EVER)

    def _parts(self) -> Iterator[Part]:
        flows = self._meter.take()
        first, last = self._number, self._number + len(flows)
        self._number = last
        for begin in range(max(first, self._written), last, _FLOWS):
            end = min(begin + _FLOWS, last)
            part = flows.part(begin - first, end - first)
            cells, result = self._metered.identity(part), self._metered.labels(part, self._classifier)
            numbers = range(begin + 1, end + 1)
            yield Part(cells, self._classifier.bundle, result, numbers, numbers, [self.offset] * len(numbers))
