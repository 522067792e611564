"""A link between two interfaces in user space: delay, jitter, loss, rate and a bounded queue, the same both ways.

The kernel of a small machine may have no netem. Frames are taken from one interface by AF_PACKET and sent on the other.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23
_SIOCETHTOOL = 0x8946
# ETHTOOL_S{TXCSUM,SG,TSO,GSO,GRO}: with them on, frames would be longer than the MTU and lack their checksums.
_OFFLOADS = (0x17, 0x19, 0x1F, 0x24, 0x2C)
_OVERHEAD = 24  # bytes of preamble, checksum and gap that a frame costs on Ethernet


@dataclass(frozen=True)
class Conditions:
    """Of one direction. ``delay_ms`` is added to every frame, ``jitter_ms`` is the mean of a further exponential delay
    that never changes the order, ``loss`` is the share of frames lost at random, ``rate_mbit`` the rate in Mbit/s, and
    ``queue_ms`` the longest wait for it: a frame that would wait longer is dropped."""

    delay_ms: float
    jitter_ms: float = 0.0
    loss: float = 0.0
    rate_mbit: float = 1000.0
    queue_ms: float = 100.0


class Direction:
    """When each frame of one direction leaves, if at all."""

    def __init__(self, conditions: Conditions, random: Random, send: Callable[[bytes], object]) -> None:
        self._conditions = conditions
        self._random = random
        self._send = send
        self._free = 0.0  # when the rate allows the next frame
        self._last = 0.0  # when the last one leaves: order is kept
        self._waiting: deque[tuple[float, bytes]] = deque()
        self.dropped = 0
        self.late = 0.0  # seconds, the worst by which a frame left too late

    def take(self, frame: bytes, now: float) -> None:
        settings = self._conditions
        start = max(now, self._free)
        if start - now > settings.queue_ms / 1e3 or self._random.random() < settings.loss:
            self.dropped += 1
            return
        self._free = start + (len(frame) + _OVERHEAD) * 8 / (settings.rate_mbit * 1e6)
        jitter = self._random.expovariate(1.0) * settings.jitter_ms
        self._last = max(self._last, self._free + (settings.delay_ms + jitter) / 1e3)
        self._waiting.append((self._last, frame))

    def give(self, now: float) -> float:
        """Sends what is due; returns when the next frame is, or infinity."""
        while self._waiting and self._waiting[0][0] <= now:
            due, frame = self._waiting.popleft()
            self.late = max(self.late, now - due)
            self._send(frame)
        return self._waiting[0][0] if self._waiting else float("inf")


def switch_offloads_off(interface: str) -> None:
    """So that every frame of the interface is one that a wire would carry. Acts in the calling thread's namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in _OFFLOADS:
            setting = ctypes.create_string_buffer(struct.pack("II", command, 0), 8)
            fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sP", interface.encode(), ctypes.addressof(setting)))


def run(pairs: list[tuple[str, str, Conditions]], seed: int, until: Callable[[], bool]) -> list[Direction]:
    """Joins each pair of interfaces of this namespace until ``until()``, asked at least ten times a second."""
    inputs: dict[socket.socket, Direction] = {}
    for number, (left, right, conditions) in enumerate(pairs):
        ends = [_raw(left), _raw(right)]
        for way, (source, target) in enumerate([ends, ends[::-1]]):
            inputs[source] = Direction(conditions, Random(f"{seed}/{number}/{way}"), _sender(target))
    wait = 0.0
    while not until():
        ready, _, _ = select.select(list(inputs), [], [], wait)
        for source in ready:
            for _ in range(64):
                try:
                    frame = source.recv(1 << 16)
                except BlockingIOError:
                    break
                inputs[source].take(frame, time.monotonic())
        now = time.monotonic()
        wait = min(0.1, max(0.0, min(direction.give(now) for direction in inputs.values()) - time.monotonic()))
    for source in inputs:
        source.close()
    return list(inputs.values())


def _raw(interface: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    raw.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    raw.setblocking(False)
    raw.bind((interface, _ETH_P_ALL))
    return raw


def _sender(target: socket.socket) -> Callable[[bytes], object]:
    def send(frame: bytes) -> None:
        with contextlib.suppress(OSError):  # the interface is full or down, as a wire may be
            target.send(frame)

    return send


def main(pairs: str, seed: str, report: str) -> None:
    """Joins interfaces until SIGTERM; then writes what each direction dropped, and how late a frame left at worst."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    joined = [(left, right, Conditions(**settings)) for left, right, settings in json.loads(pairs)]
    directions = run(joined, int(seed), lambda: bool(stopped))
    figures = {"dropped": [d.dropped for d in directions], "late_ms": round(1e3 * max(d.late for d in directions), 1)}
    Path(report).write_text(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
