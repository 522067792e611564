"""Frames, and network namespaces to send them in: no packet leaves the machine, nor reaches its own interfaces."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

CLONE_NEWNET = 0x40000000
SO_TIMESTAMPNS = 35
MACS = bytes.fromhex("020000000001 020000000002")
TCP, UDP = 6, 17
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def ip4(protocol: int, source: str, target: str, body: bytes, *, fragment: int = 0, number: int = 1) -> bytes:
    """A frame. ``fragment``: the header's field of flags and offset."""
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), number, fragment, 64, protocol, 0) + ends
    return MACS + b"\x08\x00" + header + body


def ip6(protocol: int, source: str, target: str, body: bytes) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    return MACS + b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, len(body), protocol, 64) + ends + body


def tcp(source_port: int, target_port: int, flags: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HHIIBBHHH", source_port, target_port, 1, 1, 5 << 4, flags, 1024, 0, 0) + payload


def udp(source_port: int, target_port: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HHHH", source_port, target_port, 8 + len(payload), 0) + payload


def tagged(frame: bytes, tag: int, kinds: Iterable[int] = (0x8100,)) -> bytes:
    """With a VLAN's tags of these types, the outer one first."""
    return frame[:12] + b"".join(struct.pack(">HH", kind, tag) for kind in kinds) + frame[12:]


def connection(number: int, rng: np.random.Generator, *, closed: bool = True) -> list[bytes]:
    """The frames of a TCP connection that is like no other one."""
    client, server = f"10.1.{number >> 8 & 255}.{number & 255}", f"192.0.2.{1 + number % 200}"
    port = 1024 + number % 60000
    frames = [ip4(TCP, client, server, tcp(port, 443, SYN)), ip4(TCP, server, client, tcp(443, port, SYN | ACK))]
    for _ in range(int(rng.integers(1, 8))):
        ask, answer = rng.bytes(int(rng.integers(0, 300))), rng.bytes(int(rng.integers(1, 1400)))
        frames.append(ip4(TCP, client, server, tcp(port, 443, PSH | ACK, ask)))
        frames.append(ip4(TCP, server, client, tcp(443, port, ACK, answer)))
    if closed:
        frames.append(ip4(TCP, client, server, tcp(port, 443, FIN | ACK)))
    return frames


def traffic(connections: int, seed: int = 1) -> list[bytes]:
    """Connections that overlap, and UDP, IPv6, tags and fragments among them."""
    rng = np.random.default_rng(seed)
    open_ones = [connection(i, rng, closed=i % 7 != 0) for i in range(connections)]
    for i in range(connections // 10):
        a, b = f"2001:db8::{i + 1:x}", "2001:db8:1::53"
        open_ones.append([ip6(UDP, a, b, udp(5000 + i, 53, b"ask")), ip6(UDP, b, a, udp(53, 5000 + i, rng.bytes(90)))])
        c, d = f"10.2.0.{i % 250 + 1}", "192.0.2.250"
        whole = udp(7000 + i, 8000, rng.bytes(1000))
        first, later = ip4(UDP, c, d, whole[:504], fragment=0x2000), ip4(UDP, c, d, whole[504:], fragment=63)
        open_ones.append([ip4(UDP, c, d, udp(7000 + i, 8000, b"small")), first, later])
        open_ones.append([tagged(frame, 5) for frame in connection(60000 + i, rng)])
    frames = []
    while open_ones:
        i = int(rng.integers(0, len(open_ones)))
        frames.append(open_ones[i].pop(0))
        if not open_ones[i]:
            open_ones[i] = open_ones[-1]
            open_ones.pop()
    return frames


def pcap(frames: Iterable[tuple[int, bytes]]) -> bytes:
    """A capture of frames with their times in nanoseconds."""
    header = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 18, 1)
    records = (struct.pack("<IIII", at // 10**9, at % 10**9, len(frame), len(frame)) + frame for at, frame in frames)
    return header + b"".join(records)


class Wire:
    """A pair of interfaces in a network namespace of its own: what is sent on ``far`` comes in on ``near``."""

    near, far = "near0", "far0"

    def __init__(self) -> None:
        self.ip("link", "add", self.near, "type", "veth", "peer", "name", self.far)
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", self.far, "up")
        self.up()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind((self.far, 0))

    def ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    def up(self) -> None:
        """Switches the near end on, and waits until the far one may send."""
        self.ip("link", "set", self.near, "up")
        until = time.monotonic() + 10
        show = ["ip", "-o", "link", "show", self.far]
        while b"state UP" not in subprocess.run(show, check=True, capture_output=True).stdout:
            assert time.monotonic() < until
            time.sleep(0.01)

    def send(self, frames: Iterable[bytes], pause: float = 0.0) -> int:
        """How many were sent, with a pause behind each hundred."""
        count = 0
        for frame in frames:
            self._socket.send(frame)
            count += 1
            if pause and count % 100 == 0:
                time.sleep(pause)
        return count

    @contextlib.contextmanager
    def listening(self) -> Iterator[list[tuple[int, bytes]]]:
        """The frames that came in meanwhile, with the kernel's times in nanoseconds; the list is filled at the end."""
        frames: list[tuple[int, bytes]] = []
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as ears:
            ears.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
            ears.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            ears.bind((self.near, 3))
            ears.setblocking(False)
            yield frames
            with contextlib.suppress(BlockingIOError):
                while True:
                    frame, extra, _, sender = ears.recvmsg(1 << 16, 64)
                    seconds, nanoseconds = struct.unpack("qq", extra[0][2])
                    if sender[0] == self.near:
                        frames.append((seconds * 10**9 + nanoseconds, frame))

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """A network namespace for this thread and the programs that it starts. Skips the test where that is not allowed."""
    if not shutil.which("ip"):
        pytest.skip("needs ip (apt install iproute2)")
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(CLONE_NEWNET):
            pytest.skip(f"needs a network namespace of its own: {os.strerror(ctypes.get_errno())} (run as root)")
        try:
            # No packets of the kernel's own.
            Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
            yield
        finally:
            assert libc.setns(before, CLONE_NEWNET) == 0
    finally:
        os.close(before)
