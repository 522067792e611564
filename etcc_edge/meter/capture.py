"""A capture's bytes in, its flows out in pieces."""

from __future__ import annotations

import gzip
import importlib
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from etcc_edge import _native
from etcc_edge.errors import FlowsError
from etcc_edge.meter.profiles import DEFAULT, PROFILES

STDIN = "-"
PIECE = 1 << 20  # bytes of a read
MAX_FLOWS = 1_000_000  # open at once: about 1 GB


class MeteredCapture:
    """The flows of the capture ``name`` (pcap or pcapng, also .gz and .zst; ``-`` is standard input).

    ``timeout``: seconds, the profile's own where None. ``strict``: with the quirks of the Java meter's decoder. Raises
    FlowsError for an unknown profile.
    """

    def __init__(
        self,
        name: str,
        profile: str = DEFAULT,
        *,
        timeout: float | None = None,
        strict: bool = False,
        max_flows: int = MAX_FLOWS,
    ) -> None:
        if profile not in PROFILES:
            raise FlowsError(f"unknown profile {profile!r}; there are {', '.join(PROFILES)}")
        self.name = name
        self.profile = profile
        seconds = PROFILES[profile].timeout if timeout is None else timeout
        self.meter = _native.Meter(profile, round(seconds * 1e6), strict, max_flows, secrets.randbits(64))
        self.rows = 0
        self.bytes = 0

    @property
    def problem(self) -> str:
        """What ended the capture early, in a clause; empty where it is whole."""
        return self.meter.problem

    def flows(self) -> Iterator[_native.Flows]:
        """The flows in pieces, in order of their ends, then the open ones. Raises FlowsError for a file that cannot be
        opened or decompressed, and for one that is damaged before its first packet."""
        try:
            with open_capture(self.name) as stream:
                while piece := stream.read(PIECE):
                    self.bytes += len(piece)
                    self.meter.feed(piece)
                    self._refuse_without_packets()
                    yield self._take()
        except (OSError, EOFError) as error:
            raise FlowsError(f"cannot read {self.name}: {error}") from error
        self.meter.finish()
        self._refuse_without_packets()
        yield self._take()

    def _refuse_without_packets(self) -> None:
        if self.problem and not self.meter.packets:
            raise FlowsError(f"cannot read {self.name}: {self.problem}")

    def _take(self) -> _native.Flows:
        flows = self.meter.take()
        self.rows += len(flows)
        return flows


def open_capture(name: str) -> BinaryIO:
    """The bytes of a capture, decompressed. Raises FlowsError for a .zst where nothing can read one."""
    if name == STDIN:
        return sys.stdin.buffer
    suffix = Path(name).suffix
    if suffix == ".gz":
        return cast(BinaryIO, gzip.open(name))
    if suffix == ".zst":
        for library in ("compression.zstd", "zstandard"):
            try:
                return cast(BinaryIO, importlib.import_module(library).open(name, "rb"))
            except ImportError:
                continue
        raise FlowsError(f"{name} needs zstandard: pip install zstandard")
    return Path(name).open("rb")
