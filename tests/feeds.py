"""Packets without an interface, and a sink that keeps all lines, for tests of a live run."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable

from etcc_edge import _native
from etcc_edge.meter.interface import RingCounts
from etcc_edge.serve.live import Live
from etcc_edge.serve.sinks import Sink
from wire import UDP, ip4, pcap, udp

SECOND = 1_000_000
Start = Callable[..., tuple[Live, "Kept"]]


class Kept(Sink):
    """Keeps all lines. ``open_gate`` lets them pass."""

    def __init__(self) -> None:
        super().__init__("a test")
        self.lines: list[bytes] = []
        self.open_gate = threading.Event()
        self.open_gate.set()

    def _take(self, lines: bytes, done: int) -> int:
        if not self.open_gate.wait(0.05):
            raise OSError(5, "the gate is closed")
        self.lines.extend(lines.splitlines())
        return len(lines)

    @property
    def records(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in list(self.lines)]


class Fed:
    """Packets that a test makes: lists of frames with times in seconds, each taken by one call."""

    def __init__(self, pieces: Iterable[list[tuple[float, bytes]]] = ()) -> None:
        self.clock_step = 0
        self.pieces = list(pieces)
        self.now = 1_700_000_000 * SECOND
        self.given = 0
        self._started = False

    def capture(self, meter: _native.Meter, milliseconds: int) -> int:
        if not self._started:
            meter.feed(pcap([]))
            self._started = True
        if not self.pieces:
            time.sleep(0.002)
            return self.now
        frames = self.pieces.pop(0)
        meter.feed(pcap((1_700_000_000 * 10**9 + round(at * 1e9), frame) for at, frame in frames)[24:])
        self.given += len(frames)
        if frames:
            self.now = 1_700_000_000 * SECOND + round(frames[-1][0] * SECOND)
        return self.now

    def count(self) -> RingCounts:
        return RingCounts(self.given)

    def stop(self) -> None:
        pass


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def udp_flows(count: int, first: int = 0, at: float = 0.0) -> list[tuple[float, bytes]]:
    """Two packets each."""
    frames = []
    for i in range(first, first + count):
        frame = ip4(UDP, f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}", "192.0.2.1", udp(1024 + i % 60_000, 53, b"x"))
        frames += [(at, frame), (at, frame)]
    return frames
