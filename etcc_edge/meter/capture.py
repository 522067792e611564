"""A capture's bytes in, its flows out in pieces."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator

from etcc_edge import _native
from etcc_edge.errors import FlowsError
from etcc_edge.flows.binaries import name_packed
from etcc_edge.flows.stream import ByteStream

_PIECE = 1 << 20  # bytes of a read
PROFILES = _native.meter_profiles()
"""The meters that can be followed; the first is the CICFlowMeter of CICDarknet2020."""
TIMEOUT = _native.meter_timeout(PROFILES[0]) / 1e6  # seconds from a flow's first packet, of that profile
MAX_FLOWS = 1_000_000  # open at once: about 0.5 GB


def default_timeout(profile: str) -> float:
    """Seconds from a flow's first packet. Raises FlowsError for an unknown profile."""
    if profile not in PROFILES:
        raise FlowsError(f"unknown profile {profile!r}; there are {', '.join(PROFILES)}")
    return _native.meter_timeout(profile) / 1e6


def unproven(profile: str) -> str:
    """A warning where no program's flows were there to compare the profile's with; else empty."""
    if _native.meter_is_proven(profile):
        return ""
    return f"profile {profile} is unproven: no program's flows were there to compare with"


class MeteredCapture:
    """The flows of a capture (pcap or pcapng, also in gzip or zip; ``-`` is standard input), by its path or opened.

    ``timeout``: seconds from a flow's first packet; None: the profile's. ``strict``: with the quirks of the Java
    meter's decoder, and no flow ends before a packet of it comes. ``lone``: flows of one packet are given too.
    ``after_packets``, ``after_seconds``: an early look at each open flow of two packets or more, once it has so many
    packets, or is so many seconds old by the packets' clock, whichever comes first; 0: none. ``threads``: of the meter.
    ``bytes`` were read, unpacked, and ``rows`` flows given. ``problem``: what ended the capture early, in a clause;
    empty where it is whole. Raises FlowsError for an unknown profile.
    """

    def __init__(
        self,
        capture: str | os.PathLike[str] | ByteStream,
        profile: str = PROFILES[0],
        *,
        timeout: float | None = None,
        strict: bool = False,
        max_flows: int = MAX_FLOWS,
        lone: bool = False,
        after_packets: int = 0,
        after_seconds: float = 0.0,
        threads: int = 1,
    ) -> None:
        own_timeout = default_timeout(profile)
        self.capture = capture
        self.meter = _native.Meter(
            profile,
            round((own_timeout if timeout is None else timeout) * 1e6),
            strict,
            max_flows,
            secrets.randbits(64),
            lone=lone,
            after_packets=after_packets,
            after_time=round(after_seconds * 1e6),
            threads=threads,
        )
        self.rows = 0
        self.bytes = 0
        self.problem = ""

    def flows(
        self, progress: Callable[[int, int | None], None] = lambda *_: None, *, least: int = 1
    ) -> Iterator[_native.Flows]:
        """The flows in pieces, in order of their ends, then the open ones: as soon as ``least`` have ended, and
        whatever there are where the input pauses. ``progress`` gets the position in the file and its size, if known.
        Raises FlowsError for a file that cannot be opened, and for one that is damaged before its first packet."""
        stream = self.capture
        if not isinstance(stream, ByteStream):
            stream = ByteStream(stream, name_foreign=name_packed)
        with contextlib.closing(stream):
            while piece := self._read(stream):
                self.bytes += len(piece)
                self.meter.feed(piece)
                if stream.paused or self.meter.ended >= least:
                    yield self._take()
                progress(stream.position(), stream.size)
        self.meter.finish()
        self.problem = self.problem or self.meter.problem
        if self.problem and not self.meter.packets:
            raise FlowsError(f"{stream.name}: {self.problem}")
        yield self._take()

    def _read(self, stream: ByteStream) -> bytes:
        if self.meter.problem:
            return b""
        try:
            return stream.read(_PIECE)
        except FlowsError as error:
            self.problem = str(error).removeprefix(f"{stream.name}: ")
            return b""

    def _take(self) -> _native.Flows:
        flows = self.meter.take()
        self.rows += len(flows)
        return flows
