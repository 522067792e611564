"""Captures that tests make: packets to the bytes of a pcap file."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass

TCP, UDP, ICMP = 6, 17, 1
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)


@dataclass(frozen=True)
class Packet:
    """``time``: seconds since 1970. ``payload``: bytes, all zeros."""

    time: float
    source: str
    source_port: int
    target: str
    target_port: int
    payload: int = 0
    protocol: int = TCP
    flags: int = ACK

    def frame(self) -> bytes:
        ends = struct.pack(">HH", self.source_port, self.target_port)
        if self.protocol == TCP:
            head = ends + struct.pack(">IIBBHHH", 0, 0, 0x50, self.flags, 8192, 0, 0)
        elif self.protocol == UDP:
            head = ends + struct.pack(">HH", 8 + self.payload, 0)
        else:
            head = bytes(8)
        body = head + bytes(self.payload)
        source, target = ipaddress.ip_address(self.source), ipaddress.ip_address(self.target)
        if source.version == 6:
            ip = struct.pack(">IHBB", 6 << 28, len(body), self.protocol, 64)
            kind = 0x86DD
        else:
            ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, self.protocol, 0)
            kind = 0x0800
        return bytes(12) + struct.pack(">H", kind) + ip + source.packed + target.packed + body

    def record(self) -> bytes:
        frame = self.frame()
        second, fraction = divmod(round(self.time * 1e6), 1_000_000)
        return struct.pack("<IIII", second, fraction, len(frame), len(frame)) + frame


def pcap(packets: Iterable[Packet]) -> bytes:
    return HEADER + b"".join(packet.record() for packet in packets)


def exchange(
    client: str, port: int, server: str, server_port: int, *, start: float = 1.0, packets: int = 6, protocol: int = TCP
) -> list[Packet]:
    """Packets to and fro, a quarter of a second apart, with more payload from the server."""
    there, back = (client, port, server, server_port), (server, server_port, client, port)
    return [
        Packet(start + i / 4, *(back if i % 2 else there), payload=40 + 100 * i * (i % 2), protocol=protocol)
        for i in range(packets)
    ]
