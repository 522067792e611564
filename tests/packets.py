"""Packets for tests of the meter, and their flows."""

from __future__ import annotations

import csv
import io
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import NamedTuple

from etcc_edge import _native

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
CLIENT, SERVER, OTHER = "10.0.0.1", "10.0.0.2", "10.0.0.3"
MINUTE = 60.0


class Packet(NamedTuple):
    """Of TCP where it has ``flags``, else of UDP. ``time`` in seconds."""

    time: float
    source: str = CLIENT
    target: str = SERVER
    source_port: int = 1234
    target_port: int = 443
    flags: int | None = None
    payload: int = 4

    def record(self) -> bytes:
        ports = struct.pack(">HH", self.source_port, self.target_port)
        if self.flags is None:
            protocol, transport = 17, ports + struct.pack(">HH", 8 + self.payload, 0)
        else:
            protocol, transport = 6, ports + struct.pack(">IIBBHHH", 0, 0, 0x50, self.flags, 1000, 0, 0)
        body = transport + bytes(self.payload)
        ends = IPv4Address(self.source).packed + IPv4Address(self.target).packed
        frame = (
            bytes(12) + b"\x08\x00" + struct.pack(">BBHIBBH", 0x45, 0, 20 + len(body), 0, 64, protocol, 0) + ends + body
        )
        micros = round(self.time * 1e6)
        return struct.pack("<IIII", micros // 1_000_000, micros % 1_000_000, len(frame), len(frame)) + frame


def capture(packets: Iterable[Packet]) -> bytes:
    start = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
    return start + b"".join(packet.record() for packet in packets)


def new_meter(
    profile: str = "darknet2020",
    *,
    timeout: int = 120_000_000,
    strict: bool = False,
    max_flows: int = 1000,
    **more: int,
) -> _native.Meter:
    """That has read a capture's begin."""
    meter = _native.Meter(profile, timeout, strict, max_flows, 7, **more)
    meter.feed(capture([]))
    return meter


def feed(meter: _native.Meter, *packets: Packet) -> list[dict[str, str]]:
    """The flows that ended, or were looked at early."""
    meter.feed(b"".join(packet.record() for packet in packets))
    return rows_of(meter.take())


def end(meter: _native.Meter) -> list[dict[str, str]]:
    meter.finish()
    return rows_of(meter.take())


def rows_of(flows: _native.Flows) -> list[dict[str, str]]:
    text = _native.meter_header("darknet2020") + flows.text(0).tobytes().decode()
    return list(csv.DictReader(io.StringIO(text)))
