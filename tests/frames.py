"""Frames and captures as bytes, header by header, and the rows that the meter makes of them."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from etcc_edge import _native

ICMP, IP_IN_IP, TCP, UDP = 1, 4, 6, 17
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
IP4, ARP, VLAN, IP6, QINQ = 0x0800, 0x0806, 0x8100, 0x86DD, 0x88A8
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
CLIENT_6, SERVER_6 = "2001:db8::1", "2001:db8::2"
ETHERNET = 1
MICROSECONDS, NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D
BROADCAST = b"\xff" * 6


def udp(payload: bytes = b"", source: int = 1234, target: int = 53) -> bytes:
    return struct.pack(">HHHH", source, target, 8 + len(payload), 0) + payload


def tcp(
    payload: bytes = b"",
    source: int = 1234,
    target: int = 443,
    *,
    flags: int = ACK,
    options: bytes = b"",
    words: int | None = None,
) -> bytes:
    """``words``: what the header says of its length, in 4 bytes."""
    size = 5 + len(options) // 4 if words is None else words
    return struct.pack(">HHIIBBHHH", source, target, 0, 0, size << 4, flags, 8192, 0, 0) + options + payload


def ip4(
    body: bytes = b"",
    protocol: int = UDP,
    source: str = CLIENT,
    target: str = SERVER,
    *,
    options: bytes = b"",
    fragment: int = 0,
    length: int | None = None,
    words: int | None = None,
) -> bytes:
    """``fragment``: flags and offset. ``length``, ``words``: what the header says of the packet's length in bytes, and
    of its own in 4 bytes."""
    size = 5 + len(options) // 4 if words is None else words
    total = 20 + len(options) + len(body) if length is None else length
    head = struct.pack(">BBHHHBBH", 0x40 | size, 0, total, 0, fragment, 64, protocol, 0)
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    return head + ends + options + body


def ip6(body: bytes = b"", next_header: int = UDP, *, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    ends = ipaddress.ip_address(CLIENT_6).packed + ipaddress.ip_address(SERVER_6).packed
    return struct.pack(">IHBB", 6 << 28, size, next_header, 64) + ends + body


def extension(next_header: int, body: bytes, units: int = 0, size: int = 8) -> bytes:
    """A header between IPv6's and ``body``: of ``size`` bytes, in ``units`` as the header counts them."""
    return bytes([next_header, units]) + bytes(size - 2) + body


def ethernet(body: bytes, kind: int = IP4, tags: Iterable[int] = (), target: bytes = bytes(6)) -> bytes:
    """``tags``: the types of VLAN tags, the outer one first."""
    stack = b"".join(struct.pack(">HH", tag, 7) for tag in tags)
    return target + bytes(6) + stack + struct.pack(">H", kind) + body


@dataclass(frozen=True)
class Record:
    """A frame in a capture. ``time``: in its clock's ticks since 1970. ``wire``: the frame's length on the wire."""

    frame: bytes
    time: int = 1_000_000
    wire: int | None = None

    @property
    def wire_length(self) -> int:
        return len(self.frame) if self.wire is None else self.wire


def records(frames: Iterable[bytes | Record]) -> Iterator[Record]:
    return (frame if isinstance(frame, Record) else Record(frame) for frame in frames)


def pcap(
    frames: Iterable[bytes | Record],
    link: int = ETHERNET,
    *,
    order: str = "<",
    magic: int = MICROSECONDS,
    snap: int = 262_144,
) -> bytes:
    """``order``: < or >, as struct has it."""
    ticks = 10**9 if magic == NANOSECONDS else 10**6
    data = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, snap, link)
    for record in records(frames):
        second, fraction = divmod(record.time, ticks)
        data += struct.pack(f"{order}IIII", second, fraction, len(record.frame), record.wire_length) + record.frame
    return data


class Pcapng:
    """Blocks of pcapng in one byte order, < or >."""

    def __init__(self, order: str = "<") -> None:
        self.order = order

    def pack(self, form: str, *values: int) -> bytes:
        return struct.pack(self.order + form, *values)

    def block(self, kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = self.pack("I", 12 + len(body))
        return self.pack("I", kind) + size + body + size

    def section(self) -> bytes:
        return self.block(0x0A0D0D0A, self.pack("IHHq", 0x1A2B3C4D, 1, 0, -1))

    def option(self, code: int, value: bytes) -> bytes:
        return self.pack("HH", code, len(value)) + value + bytes(-len(value) % 4)

    def interface(self, link: int = ETHERNET, *, snap: int = 0, options: bytes = b"") -> bytes:
        return self.block(1, self.pack("HHI", link, 0, snap) + options)

    def packet(self, frame: bytes | Record, interface: int = 0) -> bytes:
        (record,) = records([frame])
        head = self.pack("III", interface, record.time >> 32, record.time & 0xFFFFFFFF)
        return self.block(6, head + self.pack("II", len(record.frame), record.wire_length) + record.frame)

    def old_packet(self, frame: bytes | Record, interface: int = 0) -> bytes:
        (record,) = records([frame])
        head = self.pack("HHII", interface, 0, record.time >> 32, record.time & 0xFFFFFFFF)
        return self.block(2, head + self.pack("II", len(record.frame), record.wire_length) + record.frame)

    def simple_packet(self, frame: bytes, wire: int | None = None) -> bytes:
        return self.block(3, self.pack("I", len(frame) if wire is None else wire) + frame)


def pcapng(frames: Iterable[bytes | Record], order: str = "<") -> bytes:
    """One section and interface, in microseconds."""
    form = Pcapng(order)
    return form.section() + form.interface() + b"".join(form.packet(frame) for frame in frames)


COLUMNS = _native.meter_header("darknet2020").rstrip("\n").split(",")


@dataclass(frozen=True)
class Metered:
    """What the meter makes of a capture: rows by column, frames, those skipped by reason, flows of one packet, and
    what ended it early."""

    rows: list[dict[str, str]]
    packets: int
    skipped: dict[str, int]
    lone: int
    problem: str


def metered(capture: bytes, *, strict: bool = False, piece: int = 1 << 20, profile: str = "darknet2020") -> Metered:
    """``piece``: bytes that the meter gets at once."""
    meter = _native.Meter(profile, 120_000_000, strict, 1000, 1)
    for start in range(0, len(capture), piece):
        meter.feed(capture[start : start + piece])
    meter.finish()
    lines = meter.take().text(0).tobytes().decode().splitlines()
    rows = [dict(zip(COLUMNS, line.split(","), strict=True)) for line in lines]
    skipped = {reason: count for reason, count in meter.skipped.items() if count}
    return Metered(rows, meter.packets, skipped, meter.lone, meter.problem)
