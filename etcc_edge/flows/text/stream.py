"""Where a flows file's bytes come from: a path, gzip, or standard input."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import io
import os
import select
import sys
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from etcc_edge.errors import FlowsError

STDIN = "-"
PAUSE_SECONDS = 0.2
"""So long may a live input keep silent before what was read goes on its way."""
_PIPE_BYTES = 1 << 20  # fewer, larger reads
_GZIP_MAGIC = b"\x1f\x8b"


class _Prefixed:
    """A stream with bytes put back before it."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        if not self._first:
            return self._rest.read(size)
        first, self._first = (self._first, b"") if size < 0 else (self._first[:size], self._first[size:])
        return first


class ByteStream:
    """A flows file opened for reading once, front to back. Gzip is recognised by its first bytes.

    ``ended``: no more bytes come. ``paused``: the last `read` ended since nothing came for `PAUSE_SECONDS`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = "standard input" if os.fspath(path) == STDIN else os.fspath(path)
        self.size: int | None = None  # bytes on disk, for progress; None for a stream
        self.ended = self.paused = False
        try:
            self._raw = self._open(path)
            self._stream: BinaryIO = self._raw
            # A pipe may deliver a single byte at first, and then peek shows no more.
            self._ahead = self._raw.read(2)
            if self._ahead == _GZIP_MAGIC:
                packed = _Prefixed(self._ahead, self._raw)
                self._ahead = b""
                self._stream = cast(BinaryIO, gzip.GzipFile(fileobj=cast(BinaryIO, packed)))
        except OSError as error:
            raise FlowsError(f"{self.name}: cannot be read: {error.strerror or error}") from error

    def _open(self, path: str | os.PathLike[str]) -> io.BufferedReader:
        if os.fspath(path) == STDIN:
            with contextlib.suppress(OSError, ValueError, AttributeError):  # no pipe, or not on Linux
                fcntl.fcntl(sys.stdin.buffer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            return cast(io.BufferedReader, sys.stdin.buffer)
        if Path(path).is_dir():
            raise FlowsError(f"{self.name}: is a folder; name a flows file")
        stream = open(path, "rb")  # noqa: SIM115
        self.size = os.fstat(stream.fileno()).st_size or None
        return stream

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes: fewer at the end, and where a pipe pauses."""
        parts = [self._ahead] if self._ahead else []
        wanted = size - len(self._ahead)
        self._ahead, self.paused = b"", False
        try:
            while wanted:
                if parts and self._pauses():
                    self.paused = True
                    break
                part = self._read_part(wanted)
                if not part:
                    self.ended = True
                    break
                parts.append(part)
                wanted -= len(part)
        except (OSError, EOFError, zlib.error) as error:
            detail = "the gzip data is damaged or cut short" if self._stream is not self._raw else str(error)
            raise FlowsError(f"{self.name}: cannot be read to its end: {detail}") from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def _is_live(self) -> bool:
        """Bytes may come slowly, from a pipe or a terminal; packed ones are waited for."""
        return self.size is None and self._stream is self._raw

    def _pauses(self) -> bool:
        if not self._is_live:
            return False
        try:
            return not select.select([self._raw], [], [], PAUSE_SECONDS)[0]
        except (OSError, ValueError):  # of something that is no file, which a test may put in place of standard input
            return False

    def _read_part(self, size: int) -> bytes:
        # What has come already, from a pipe; else all.
        return self._raw.read1(size) if self._is_live else self._stream.read(size)

    def position(self) -> int:
        """Bytes of the file on disk that were read so far; 0 for a stream."""
        return self._raw.tell() if self.size is not None else 0

    def close(self) -> None:
        if self._raw is not getattr(sys.stdin, "buffer", None):
            self._raw.close()
