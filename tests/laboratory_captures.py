"""Captures with the addresses of the laboratory."""

from __future__ import annotations

import struct
from pathlib import Path

HOST, GATEWAY, WEB, MAIL, NAMES, OTHER = "10.40.1.2", "10.40.1.1", "198.18.1.1", "198.18.3.1", "198.18.0.2", "10.40.2.2"


def packet(source: str, target: str, ethernet: bool = True) -> bytes:
    ends = b"".join(bytes(map(int, end.split("."))) for end in (source, target))
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 17, 0) + ends
    return b"\0" * 12 * ethernet + b"\x08\0" * ethernet + ip + struct.pack(">HHHH", 4000, 4000, 20, 0) + bytes(12)


def capture(path: Path, packets: list[bytes], link: int = 1) -> None:
    records = [struct.pack("<IIII", i, 0, len(p), len(p)) + p for i, p in enumerate(packets)]
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 128, link) + b"".join(records))
