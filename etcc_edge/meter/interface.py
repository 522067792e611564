"""Packets off an interface: a packet socket and its ring for each worker."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from etcc_edge import _native
from etcc_edge.errors import FlowsError
from etcc_edge.meter.clock import SteadyClock
from etcc_edge.meter.filters import ALL, NONE, Instruction, cut_to, packed

SNAP_LENGTH = 192
"""Bytes of a packet that are kept: the headers. Lengths come from them."""
RING_BYTES = 32 << 20
"""Of a worker: about a quarter of a second at 600,000 packets a second."""

_SMALLER = "try fewer workers or a smaller ring"
_BLOCK_BYTES = 1 << 18
_BLOCK_MILLISECONDS = 8  # so long at most does the kernel keep frames to itself
_FRAME_BYTES = 2048  # only counts blocks: the kernel packs frames close together

# From the kernel's linux/if_packet.h and others; Python's socket module lacks them.
_SOL_PACKET = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION, _FANOUT, _FANOUT_DATA, _IGNORE_OUTGOING = 1, 5, 6, 10, 18, 22, 23
_PROMISCUOUS = 1
_TPACKET_V3 = 2
_FANOUT_BY_PROGRAM, _FANOUT_NEW_GROUP = 6, 0x2000
_SO_ATTACH_FILTER = 26
_ALL_PROTOCOLS = 0x0003
_SIOCGIFNAME, _SIOCGIFFLAGS, _SIOCGIFHWADDR, _SIOCETHTOOL = 0x8910, 0x8913, 0x8927, 0x8946
_IFF_UP = 1
_ETHERNET_DEVICE, _LOOPBACK_DEVICE = 1, 772
_ETHERNET_LINK, _RAW_LINK = 1, 101
_GFLAGS, _LRO_FLAG = 0x25, 1 << 15
_MERGING = {"GRO": 0x2B, "GSO": 0x23, "TSO": 0x1E}

# Which worker gets a packet: by its two addresses alone, the same for both directions and with any VLAN tags. The
# kernel's own hash takes ports as well, which later fragments lack, so that it would tear flows with fragments apart.
_IP4, _IP6, _TAGS = 0x0800, 0x86DD, (0x8100, 0x88A8, 0x9100)
_MOST_TAGS = 16  # as the meter's decoder
_FRAME, _NETWORK, _PROTOCOL = 0xFFE00000, 0xFFF00000, 0xFFFFF000
_LOAD, _LOAD_SHORT, _TO_X, _XOR_X, _MULTIPLY, _SHIFT = 0x20, 0x28, 0x07, 0xAC, 0x24, 0x74
_JUMP_EQUAL, _RETURN, _RETURN_A = 0x15, 0x06, 0x16


def _hash_of_words(places: Sequence[int]) -> list[Instruction]:
    first, *rest = ((_LOAD, 0, 0, place) for place in places)
    xor = [step for load in rest for step in ((_TO_X, 0, 0, 0), load, (_XOR_X, 0, 0, 0))]
    return [first, *xor, (_MULTIPLY, 0, 0, 0x9E3779B1), (_SHIFT, 0, 0, 16), (_RETURN_A, 0, 0, 0)]


def _hash_of_addresses(kind: int, packet: int, tags: Sequence[int] = ()) -> list[Instruction]:
    """Of IP at ``packet``, if the type at ``kind`` says so; goes on behind where that is one of ``tags``."""
    ip4 = _hash_of_words([packet + 12, packet + 16])
    ip6 = _hash_of_words([packet + place for place in range(8, 40, 4)])
    otherwise = len(tags)  # tests and then a return stand before the hashes
    return [
        (_LOAD_SHORT, 0, 0, kind),
        (_JUMP_EQUAL, 2 + otherwise, 0, _IP4),
        (_JUMP_EQUAL, 1 + otherwise + len(ip4), 0, _IP6),
        *((_JUMP_EQUAL, otherwise - i + len(ip4) + len(ip6), 0, tag) for i, tag in enumerate(tags)),
        (_RETURN, 0, 0, 0),
        *ip4,
        *ip6,
    ]


def _worker_program(link: int) -> list[Instruction]:
    if link == _RAW_LINK:
        return _hash_of_addresses(_PROTOCOL, _NETWORK)
    kinds = range(_FRAME + 12, _FRAME + 12 + 4 * _MOST_TAGS, 4)
    steps = [step for kind in kinds for step in _hash_of_addresses(kind, kind + 2, _TAGS)]
    return steps + _hash_of_addresses(kinds.stop, kinds.stop + 2)


@dataclass
class RingCounts:
    """Of the packets that passed the filter. ``received``: those that came to be read. ``dropped``: those for which the
    ring had no room; ``ring_full``: how often it had none."""

    received: int = 0
    dropped: int = 0
    ring_full: int = 0

    def __add__(self, other: RingCounts) -> RingCounts:
        return RingCounts(
            self.received + other.received, self.dropped + other.dropped, self.ring_full + other.ring_full
        )


class Interface:
    """An interface of this machine, by name. Raises FlowsError where there is none."""

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self.index = socket.if_nametoindex(name)
        except (OSError, ValueError) as error:
            raise FlowsError(f"{name}: there is no such interface; ip link lists them") from error
        # One for all questions: later there may be no file descriptor left for another.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._was_up = False
        try:
            device = struct.unpack_from("=H", self._ask(_SIOCGIFHWADDR), 16)[0]
        except OSError as error:
            raise FlowsError(f"{name}: {error.strerror}") from error
        self.is_loopback = device == _LOOPBACK_DEVICE
        # Of other devices, the kernel hands out packets without the device's own header.
        self.link = _ETHERNET_LINK if device in (_ETHERNET_DEVICE, _LOOPBACK_DEVICE) else _RAW_LINK

    def is_up(self) -> bool | None:
        """Whether it is switched on; None where it is there no more. It may have another name by now."""
        try:
            by_index = fcntl.ioctl(self._socket, _SIOCGIFNAME, struct.pack("=16si20x", b"", self.index))
        except OSError as error:
            return None if error.errno in (errno.ENODEV, errno.ENXIO) else self._was_up
        self.name = by_index[:16].rstrip(b"\0").decode()
        with contextlib.suppress(OSError):  # it got another name just now
            self._was_up = bool(struct.unpack_from("=H", self._ask(_SIOCGIFFLAGS), 16)[0] & _IFF_UP)
        return self._was_up

    def merging(self) -> list[str]:
        """What is on that makes one packet of several before they are captured: lengths, counts and times of flows then
        differ from those on the wire."""
        on = [name for name, command in _MERGING.items() if self._ask_driver(command)]
        return on + (["LRO"] if self._ask_driver(_GFLAGS) & _LRO_FLAG else [])

    def _ask(self, request: int) -> bytes:
        return fcntl.ioctl(self._socket, request, struct.pack("16s24x", self.name.encode()))

    def _ask_driver(self, command: int) -> int:
        """0 where it does not know."""
        value = ctypes.create_string_buffer(struct.pack("=II", command, 0))
        request = struct.pack("16sP16x", self.name.encode(), ctypes.addressof(value))
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._socket, _SIOCETHTOOL, request)
        return int(struct.unpack_from("=I", value.raw, 4)[0])


class PacketRing:
    """One worker's packets."""

    def __init__(self, interface: Interface, ring_bytes: int) -> None:
        kind = socket.SOCK_RAW if interface.link == _ETHERNET_LINK else socket.SOCK_DGRAM
        self.counts = RingCounts()
        self.clock_step = 0
        """Microseconds by which the machine's clock was set since the start: add them to the times of flows."""
        self._clock = SteadyClock()
        self._socket = socket.socket(socket.AF_PACKET, kind, 0)
        try:
            self._open(interface, max(2, ring_bytes // _BLOCK_BYTES))
        except BaseException:
            self._socket.close()
            raise

    def _open(self, interface: Interface, blocks: int) -> None:
        option = self._socket.setsockopt
        option(_SOL_PACKET, _VERSION, _TPACKET_V3)
        if interface.is_loopback:  # where each packet comes twice, going out and coming in
            option(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        frames = blocks * (_BLOCK_BYTES // _FRAME_BYTES)
        ring = struct.pack("=7I", _BLOCK_BYTES, blocks, _FRAME_BYTES, frames, _BLOCK_MILLISECONDS, 0, 0)
        option(_SOL_PACKET, _RX_RING, ring)
        self.ring = _native.Ring(self._socket.fileno(), _BLOCK_BYTES, blocks, interface.link)

    def capture(self, meter: _native.Meter, milliseconds: int) -> int:
        """Gives the packets that came to ``meter``; where there are none, waits for some. The time, microseconds since
        1970, of a clock that nobody sets."""
        reading = self._clock.read()
        meter.capture(self.ring, milliseconds, *reading)
        self.clock_step = reading.step
        return reading.now

    def count(self) -> RingCounts:
        """What came so far. The kernel forgets at each question."""
        packets, dropped, full = struct.unpack("=3I", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 12))
        self.counts += RingCounts(packets - dropped, dropped, full)
        return self.counts

    def attach(self, instructions: Sequence[Instruction]) -> None:
        """Sets the filter."""
        with _program(instructions) as program:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def bind(self, interface: Interface, *, promiscuous: bool) -> None:
        """Packets come from now on."""
        self._socket.bind((interface.name, _ALL_PROTOCOLS))
        if promiscuous:
            membership = struct.pack("=iHH8x", interface.index, _PROMISCUOUS, 0)
            self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, membership)

    def share(self, group: int | None, link: int) -> int:
        """Joins the rings that share an interface's packets, or begins such a group; its number."""
        kind = _FANOUT_BY_PROGRAM | (_FANOUT_NEW_GROUP if group is None else 0)
        self._socket.setsockopt(_SOL_PACKET, _FANOUT, kind << 16 | (group or 0))
        if group is None:
            with _program(_worker_program(link)) as program:
                self._socket.setsockopt(_SOL_PACKET, _FANOUT_DATA, program)
        return self._socket.getsockopt(_SOL_PACKET, _FANOUT) & 0xFFFF

    def stop(self) -> None:
        """No more packets come; those that came can still be captured."""
        self.attach(NONE)
        time.sleep(3 * _BLOCK_MILLISECONDS / 1000)  # until the kernel gives the last ones out

    def close(self) -> None:
        """Gives back the memory."""
        del self.ring
        self._socket.close()


def open_rings(
    interface: Interface,
    *,
    workers: int = 1,
    ring_bytes: int = RING_BYTES,
    promiscuous: bool = False,
    instructions: Sequence[Instruction] = ALL,
) -> list[PacketRing]:
    """A ring for each worker, with memory of ``ring_bytes``. All packets between two addresses come to one worker.
    ``instructions``: the filter. Raises FlowsError where this process may not capture, or memory lacks."""
    total, available = workers * ring_bytes, _available_memory()
    if available is not None and total > available:
        raise FlowsError(
            f"{interface.name}: {workers} x {ring_bytes >> 20} MB of rings are more than the {available >> 20} MB of "
            f"memory that are free; {_SMALLER}"
        )
    rings: list[PacketRing] = []
    try:
        for _ in range(workers):
            rings.append(PacketRing(interface, ring_bytes))
        group = None
        for ring in rings:
            ring.attach(NONE)  # until all share the packets; else some would come twice
            ring.bind(interface, promiscuous=promiscuous)
            if workers > 1:
                group = ring.share(group, interface.link)
        for ring in rings:
            ring.attach(cut_to(instructions, SNAP_LENGTH))
    except (OSError, RuntimeError) as error:
        for ring in rings:
            ring.close()
        number = getattr(error, "errno", 0)
        if number in (errno.EPERM, errno.EACCES):
            remedy = "run as root, or with the capability CAP_NET_RAW"
            raise FlowsError(f"{interface.name}: this process may not capture; {remedy}") from error
        if number == errno.EINVAL:
            raise FlowsError(f"{interface.name}: the kernel refuses the filter or the ring") from error
        reason = os.strerror(number) if number else str(error)
        raise FlowsError(f"{interface.name}: cannot be captured: {reason}; {_SMALLER}") from error
    return rings


def _available_memory() -> int | None:
    """Bytes, of this machine: the kernel counts rings to no group of processes. For a ring that does not fit it may end
    a process, this one or another."""
    with contextlib.suppress(OSError), open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return None


@contextlib.contextmanager
def _program(instructions: Sequence[Instruction]) -> Iterator[bytes]:
    """The kernel's ``struct sock_fprog`` of a filter."""
    steps = ctypes.create_string_buffer(packed(instructions))
    yield struct.pack("@HP", len(instructions), ctypes.addressof(steps))
