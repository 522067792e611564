"""Where the bytes of a flows file or a capture come from: a path, gzip, zstd, a zip file, or standard input."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import io
import os
import select
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from etcc_edge.errors import FlowsError
from etcc_edge.flows.binaries import SIGNATURE_BYTES, name_binary
from etcc_edge.flows.names import one_line

STDIN = "-"
PAUSE_SECONDS = 0.2
"""What a live input gives goes on its way after so long, however little it is."""
_PIPE_BYTES = 1 << 20  # fewer, larger reads
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_PIECE = 1 << 10  # bytes; unpacked, no more than 32 MB, since 4 bytes are 128 kB at most
_UNPACKED_PIECE = 1 << 16  # bytes; where the data is damaged, as much before that may be lost
_MAX_ZIP_READ = 4 << 20  # bytes; a zip file's list of files is read at once
_NAMED = 4  # files that a message names


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


class _Bounded:
    """A file of which no large part is read at once."""

    def __init__(self, file: io.BufferedReader) -> None:
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self._read = file.read

    def read(self, size: int = -1) -> bytes:
        if size > _MAX_ZIP_READ:
            raise EOFError
        return self._read(size)


class _Zstd:
    """The bytes of frames of zstd, one after the other."""

    def __init__(self, packed: _Prefixed) -> None:
        import zstandard

        self._packed = packed
        self._new_frame = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new_frame()
        self._rest = b""  # unpacked
        self._next = b""  # packed
        self._in_frame = False

    def read1(self, size: int) -> bytes:
        """Raises EOFError within a frame."""
        while not self._rest:
            piece = self._next or self._packed.read(_ZSTD_PIECE)
            if not piece:
                if self._in_frame:
                    raise EOFError
                return b""
            self._rest = self._frame.decompress(piece)
            self._next = self._frame.unused_data
            self._in_frame = not self._frame.eof
            if self._frame.eof:
                self._frame = self._new_frame()
        first, self._rest = self._rest[:size], self._rest[size:]
        return first


class ByteStream:
    """A file opened for reading once, front to back. Gzip, zstd (by the package zstandard), and a zip file that holds
    one file, are recognised by their first bytes. ``name``: for messages, where the path says little. ``name_foreign``
    says what a file with given first bytes is and what to do with it, where it is none that is read. Raises FlowsError,
    also for a foreign file.

    ``ended``: no more bytes come. ``paused``: the last `read` ended since what it was to have did not come within
    `PAUSE_SECONDS`.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, name: str = "", name_foreign: Callable[[bytes], str] = name_binary
    ) -> None:
        self.path = os.fspath(path)
        self.name = one_line(name or ("standard input" if self.path == STDIN else self.path))
        self.size: int | None = None  # bytes on disk, for progress; None for a stream
        self.ended = self.paused = False
        self.packing = ""  # gzip or zip, around what is read
        self._problem: FlowsError | None = None  # of which the next read tells
        self._name_foreign = name_foreign
        self._damage: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)
        try:
            self._raw = self._open(path)
            try:
                self._unpack()
            except BaseException:
                self.close()
                raise
        except OSError as error:
            raise FlowsError(f"{self.name}: cannot be read: {error.strerror or error}") from error

    def _open(self, path: str | os.PathLike[str]) -> io.BufferedReader:
        if os.fspath(path) == STDIN:
            with contextlib.suppress(OSError, ValueError, AttributeError):  # no pipe, or not on Linux
                fcntl.fcntl(sys.stdin.buffer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            return cast(io.BufferedReader, sys.stdin.buffer)
        if Path(path).is_dir():
            raise FlowsError(f"{self.name}: is a folder; name a file")
        stream = open(path, "rb")  # noqa: SIM115
        self.size = os.fstat(stream.fileno()).st_size or None
        return stream

    def _unpack(self) -> None:
        self._stream: BinaryIO = self._raw
        # A pipe may deliver a single byte at first, and then peek shows no more.
        self._ahead = self._raw.read(SIGNATURE_BYTES)
        if self._ahead.startswith(_GZIP_MAGIC):
            packed = _Prefixed(self._ahead, self._raw)
            self._stream = cast(BinaryIO, gzip.GzipFile(fileobj=cast(BinaryIO, packed)))
            self.packing = "gzip"
        elif self._ahead.startswith(_ZSTD_MAGIC):
            try:
                import zstandard
            except ImportError as error:
                raise FlowsError(
                    f"{self.name}: is zstd data, which the package zstandard reads: pip install 'etcc-edge[zstd]', or "
                    "unpack it with zstd -d"
                ) from error
            self._damage += (zstandard.ZstdError,)
            self._stream = cast(BinaryIO, _Zstd(_Prefixed(self._ahead, self._raw)))
            self.packing = "zstd"
        elif self._ahead.startswith(_ZIP_MAGIC):
            self._stream = self._only_member()
            self.packing = "zip"
        if self.packing:
            self._ahead = b""
            self._ahead = self.read(SIGNATURE_BYTES)
        if kind := self._name_foreign(self._ahead):
            raise FlowsError(f"{self.name}: {kind}")

    def _only_member(self) -> BinaryIO:
        """The one file of a zip file. It ends where the zip file says, whatever it would unpack to."""
        if not self._raw.seekable():
            raise FlowsError(
                f"{self.name}: is a zip file, which no pipe can hold; name the file, or pipe what is in it"
            )
        import zipfile

        self._damage += (zipfile.BadZipFile,)
        try:
            archive = zipfile.ZipFile(cast(BinaryIO, _Bounded(self._raw)))
            files = [
                entry
                for entry in archive.infolist()
                if not (entry.is_dir() or entry.filename.startswith("__MACOSX/"))  # macOS adds its own notes
            ]
            if any(entry.filename == "xl/workbook.xml" for entry in files):
                raise FlowsError(f"{self.name}: is an Excel workbook (xlsx); save it as CSV")
            if len(files) != 1:
                names = ", ".join(repr(entry.filename) for entry in files[:_NAMED])
                more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
                holds = f"{len(files)} files ({names}{more})" if files else "no file"
                raise FlowsError(f"{self.name}: is a zip file that holds {holds}; one is expected, unpack it first")
            if files[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise FlowsError(f"{self.name}: is compressed by another method than deflate; unpack it first")
            return cast(BinaryIO, archive.open(files[0]))
        except (zipfile.BadZipFile, EOFError, ValueError, LookupError, NotImplementedError) as error:
            raise FlowsError(f"{self.name}: is a damaged zip file") from error
        except RuntimeError as error:
            raise FlowsError(f"{self.name}: is a zip file with a password; unpack it first") from error

    @property
    def first(self) -> bytes:
        """The first bytes, unpacked, that say what the file is; before the first `read`."""
        return self._ahead

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes: fewer at the end, where a pipe pauses, and before damage, which the next call tells of.
        Raises FlowsError."""
        first, self._ahead = self._ahead[:size], self._ahead[size:]
        parts = [first] if first else []
        wanted = 0 if self._problem else size - len(first)
        self.paused = False
        until = time.monotonic() + PAUSE_SECONDS if parts else 0.0
        try:
            while wanted:
                if parts and self._pauses(until):
                    self.paused = True
                    break
                part = self._read_part(wanted)
                if not part:
                    self.ended = True
                    break
                until = until or time.monotonic() + PAUSE_SECONDS
                parts.append(part)
                wanted -= len(part)
        except self._damage as error:
            detail = f"the {self.packing} data is damaged or cut short" if self.packing else str(error)
            self._problem = FlowsError(f"{self.name}: cannot be read to its end: {detail}")
            self._problem.__cause__ = error
        if self._problem and not parts:
            raise self._problem
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def _is_live(self) -> bool:
        """Bytes may come slowly, from a pipe or a terminal; packed ones are waited for."""
        return self.size is None and self._stream is self._raw

    def _pauses(self, until: float) -> bool:
        """Whether nothing more comes until then."""
        if not self._is_live:
            return False
        wait = until - time.monotonic()
        try:
            return wait <= 0 or not select.select([self._raw], [], [], wait)[0]
        except (OSError, ValueError):  # of something that is no file, which a test may put in place of standard input
            return False

    def _read_part(self, size: int) -> bytes:
        if self._stream is not self._raw:
            return cast(io.BufferedReader, self._stream).read1(min(size, _UNPACKED_PIECE))
        # What has come already, from a pipe; else all.
        return self._raw.read1(size) if self._is_live else self._raw.read(size)

    def position(self) -> int:
        """Bytes of the file on disk that were read so far; 0 for a stream."""
        return self._raw.tell() if self.size is not None else 0

    def close(self) -> None:
        if self._raw is not getattr(sys.stdin, "buffer", None):
            self._raw.close()
