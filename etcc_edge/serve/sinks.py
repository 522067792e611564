"""Where records go: standard output, a Unix socket, or files that are rotated. Readers get whole lines.

A sink that cannot take lines now, of a full disk or a reader that stopped, waits until it can. What waits behind it is
bounded and counted elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import select
import socket
import stat
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeAlias

from etcc_edge.errors import FlowsError
from etcc_edge.flows.stream import STDIN

STDOUT = STDIN
SOCKET_PREFIX = "unix:"
_NAMES_OF_STDOUT = {"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}
_MOST_LINKS = 40
_RETRY_SECONDS = 0.5
_PIECE = 4096  # bytes that a pipe takes at once, or not at all
_SENT_AT_ONCE = 1 << 16
_SEND_BUFFER = 1 << 15  # the kernel doubles it
MEBIBYTE = 1 << 20

Mark: TypeAlias = tuple[int, int]
"""The file that is being written, by its inode, and its bytes."""
NO_MARK: Mark = (0, 0)


@dataclass(frozen=True)
class Rotation:
    """When a file is full: in bytes and seconds. How many full ones are kept, and how many bytes of them."""

    bytes: int = 64 * MEBIBYTE
    seconds: float = 3600.0
    kept_files: int = 48
    kept_bytes: int = 1024 * MEBIBYTE


class Sink:
    """Takes lines in one thread. ``header``: the first line of each file and each connection. ``told`` gets a clause
    when the sink begins to wait, and when it goes on.

    ``stalled``: why it takes no lines now; empty where it does. ``give_up``, set by another thread: wait no longer.
    ``sent``: bytes that it took, in all.
    """

    def __init__(self, place: str, header: bytes = b"", told: Callable[[str], None] = lambda _: None) -> None:
        self.place = place
        self.stalled = ""
        self.give_up = False
        self.sent = 0
        self._header = header
        self._told = told

    def write(self, lines: bytes, reached: Callable[[int], None] = lambda _: None) -> int:
        """Returns when all are written. How many bytes were; fewer where it was given up. ``reached`` gets that number
        each time that it or `mark` has changed. Raises BrokenPipeError where standard output's reader is gone."""
        done = 0
        while done < len(lines):
            try:
                taken = self._take(lines, done)
            except BrokenPipeError:
                raise
            except OSError as error:
                if not self.wait(error.strerror or str(error)):
                    break
            else:
                if self.stalled:
                    self._told(f"{self.place}: takes records again")
                    self.stalled = ""
                done += taken
                self.sent += taken
                reached(done)
        return done

    def unread(self) -> int:
        """The last bytes that it took and a reader may never get, unless they are sent again."""
        return 0

    def mark(self) -> Mark:
        """Where what was written ends."""
        return NO_MARK

    def tick(self) -> None:
        """Time has passed."""

    def close(self) -> None:
        """No more lines come."""

    def _take(self, lines: bytes, done: int) -> int:
        """Writes some of what is left, and says how many bytes. Raises OSError where it can write none."""
        raise NotImplementedError

    def wait(self, reason: str) -> bool:
        """For a moment. False where it was given up."""
        if reason != self.stalled:
            self._told(f"{self.place}: {reason}; records wait")
            self.stalled = reason
        until = time.monotonic() + _RETRY_SECONDS
        while not self.give_up and time.monotonic() < until:
            time.sleep(0.02)
        return not self.give_up


class StandardOutput(Sink):
    """What this process prints."""

    def __init__(self, header: bytes = b"", told: Callable[[str], None] = lambda _: None) -> None:
        super().__init__("standard output", header, told)
        self._descriptor = sys.stdout.fileno()
        self.write(header)

    def _take(self, lines: bytes, done: int) -> int:
        _, writable, _ = select.select([], [self._descriptor], [], _RETRY_SECONDS)
        if not writable:
            raise TimeoutError(errno.ETIMEDOUT, "nobody reads it")
        return os.write(self._descriptor, lines[done : done + _PIECE])


class UnixSocket(Sink):
    """A stream socket on which a log shipper listens. What a reader that goes away may not have read is sent again to
    the next one, from a line's begin."""

    def __init__(self, path: str, header: bytes = b"", told: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(SOCKET_PREFIX + path, header, told)
        self._path = path
        self._socket: socket.socket | None = None
        self._most_unread = 0
        self._tail = bytearray()  # whole lines and a begun one: the last that may be unread
        self._again = bytearray()  # goes before all else

    def _take(self, lines: bytes, done: int) -> int:
        connected = self._socket or self._connect()
        if self._again:
            del self._again[: self._send(connected, self._again[:_SENT_AT_ONCE])]
            return 0
        self.unread()
        sent = self._send(connected, lines[done : done + _SENT_AT_ONCE])
        self._tail += lines[done : done + sent]
        del self._tail[: self._tail.rfind(b"\n", 0, max(0, len(self._tail) - self._most_unread)) + 1]
        return sent

    def _connect(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            connected.settimeout(_RETRY_SECONDS)
            connected.connect(self._path)
        except OSError as error:
            connected.close()
            raise ConnectionError(errno.ECONNRESET, error.strerror or str(error)) from error
        # The kernel's own account is of more than the bytes, and it may go beyond by a half.
        self._most_unread = 2 * connected.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        self._again = bytearray(self._header) + self._tail
        self._socket = connected
        return connected

    def _send(self, connected: socket.socket, data: bytes | bytearray) -> int:
        try:
            return connected.send(data)
        except TimeoutError as error:
            raise TimeoutError(errno.ETIMEDOUT, "nobody reads it") from error
        except OSError as error:  # a pipe that breaks is of standard output alone
            self._drop(connected)
            raise ConnectionError(errno.ECONNRESET, error.strerror) from error

    def _drop(self, connected: socket.socket) -> None:
        connected.close()
        self._socket = None

    def unread(self) -> int:
        if self._socket is not None and not self._again and not _queued(self._socket) and not _is_left(self._socket):
            del self._tail[: self._tail.rfind(b"\n") + 1]  # another reader gets a begun line from its begin
            return 0
        return len(self._tail)

    def tick(self) -> None:
        """What a reader left unread goes to the next one, though nothing else comes."""
        if self.unread():
            with contextlib.suppress(OSError):  # the next line tells
                if self._socket is not None and _is_left(self._socket):
                    self._drop(self._socket)
                connected = self._socket or self._connect()
                if self._again and select.select([], [connected], [], 0)[1]:
                    del self._again[: self._send(connected, self._again[:_SENT_AT_ONCE])]

    def close(self) -> None:
        is_left = self._socket is None or _is_left(self._socket)
        if is_left and (lines := self._tail.count(b"\n")):
            self._told(f"{self.place}: its reader left; the last records, {lines} at most, may be unread")
        if self._socket is not None:
            self._socket.close()


def _queued(connected: socket.socket) -> int:
    """What its reader has not read, in bytes of the kernel's memory. Nothing once the reader has left."""
    return int.from_bytes(fcntl.ioctl(connected, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def _is_left(connected: socket.socket) -> bool:
    """Whether its reader has left. Ask for it after `_queued`."""
    poll = select.poll()
    poll.register(connected, 0)
    return bool(poll.poll(0))


class RotatedFile(Sink):
    """A file that gets a name of its time when it is full; ``path`` is the one being written. What an earlier run left
    there becomes such a file first, without the end of a line that it could not finish, and without what it wrote
    beyond ``mark``. ``begin``: that of every file of records; what begins otherwise is somebody else's, and stays.

    Raises FlowsError where it cannot be written, holds something else, or another process writes it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        rotation: Rotation,
        header: bytes = b"",
        told: Callable[[str], None] = lambda _: None,
        mark: Mark = NO_MARK,
        begin: bytes = b"",
    ) -> None:
        super().__init__(os.fspath(path), header, told)
        self._path = Path(path)
        self._begin = begin
        self._rotation = rotation
        self._full_name = re.compile(
            re.escape(self._path.stem) + r"\.\d{8}T\d{6}\.\d{6}Z" + re.escape(self._path.suffix)
        )
        self._descriptor = -1
        self._inode = 0
        self._size = 0
        self._opened = 0.0
        self.rotations = 0
        try:
            self._open()
            if self._size:
                self._cut_to_lines(mark)
                self._rotate()
        except FileNotFoundError as error:
            raise FlowsError(f"{path}: there is no folder {self._path.parent}") from error
        except OSError as error:
            raise FlowsError(f"{path}: cannot be written: {error.strerror or error}") from error

    def _open(self) -> None:
        if reason := why_not(self._path, self._begin):
            raise OSError(errno.EEXIST, reason)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise OSError(errno.EBUSY, "another process writes it") from error
        self._descriptor = descriptor
        status = os.fstat(descriptor)
        self._inode, self._size = status.st_ino, status.st_size
        self._opened = time.monotonic()

    def mark(self) -> Mark:
        return self._inode, self._size

    def _cut_to_lines(self, mark: Mark) -> None:
        """Removes what lies beyond the mark, and the begin of a line that was never finished."""
        inode, size = mark
        end = min(self._size, size) if inode == self._inode else self._size
        while end:
            begin = max(0, end - MEBIBYTE)
            place = os.pread(self._descriptor, end - begin, begin).rfind(b"\n")
            if place >= 0:
                end = begin + place + 1
                break
            end = begin
        os.ftruncate(self._descriptor, end)
        self._size = end

    def _take(self, lines: bytes, done: int) -> int:
        if self._descriptor < 0:
            self._open()
            return 0
        rest = lines[done:] if self._size else self._header + lines[done:]
        added = len(rest) - (len(lines) - done)
        room = max(self._rotation.bytes - self._size, 1)
        end = len(rest) if len(rest) <= room else rest.rfind(b"\n", added, room) + 1
        if not end and self._size:
            self._rotate()
            return 0
        end = end or rest.find(b"\n", added) + 1  # a line longer than a file may be
        written = os.write(self._descriptor, rest[:end])
        if written < end:  # such as on a full disk
            whole = rest.rfind(b"\n", 0, written) + 1
            whole = whole if whole > added else 0
            os.ftruncate(self._descriptor, self._size + whole)
            if not whole:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written = whole
        self._size += written
        return written - added

    def tick(self) -> None:
        """Rotates a file that is old enough, and begins another where this one was renamed or removed."""
        with contextlib.suppress(OSError):  # the next line tells
            if self._descriptor < 0:
                return
            if not self._has_its_name():
                self._close()
            elif self._size and time.monotonic() - self._opened >= self._rotation.seconds:
                self._rotate()

    def _has_its_name(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        moment = time.time_ns() // 1000
        while (full := self._path.with_name(f"{self._path.stem}.{_stamp(moment)}{self._path.suffix}")).exists():
            moment += 1
        if self._has_its_name():
            if self._size:
                os.rename(self._path, full)
            else:
                self._path.unlink()
        self._close()
        self.rotations += 1
        self._remove_old()
        self._open()

    def _remove_old(self) -> None:
        kept = total = 0
        for path in sorted(self._path.parent.iterdir(), reverse=True):
            if not self._full_name.fullmatch(path.name):
                continue
            kept += 1
            total += path.stat().st_size
            if kept > self._rotation.kept_files or total > self._rotation.kept_bytes:
                path.unlink()

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor, self._inode, self._size = -1, 0, 0

    def close(self) -> None:
        """The file keeps its name: the next run goes on with rotating it."""
        if self._descriptor >= 0:
            self._close()


def why_not(path: str | os.PathLike[str], begin: bytes) -> str:
    """What speaks against records in this file, which is not changed; empty where nothing does. ``begin`` as in
    `RotatedFile`."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a device may do something already
            return "it is no regular file; name one"
        with open(path, "rb") as file:
            if not begin.startswith(file.read(len(begin))):
                return "it holds something else than such records; name another file"
    except FileNotFoundError:
        pass
    except OSError as error:
        return error.strerror or str(error)
    return ""


def output_place(output: str) -> str:
    """``output`` as `open_sink` takes it: `STDOUT` for each name of standard output, and a file by the name that its
    symbolic links lead to, which are not renamed."""
    if output == STDOUT or output.startswith(SOCKET_PREFIX):
        return output
    path = output
    for _ in range(_MOST_LINKS):
        if path in _NAMES_OF_STDOUT:
            return STDOUT
        if not os.path.islink(path):
            break
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    leads_to_file = os.path.isfile(output) or not os.path.exists(output)
    return os.path.realpath(output) if os.path.islink(output) and leads_to_file else output


def open_sink(
    output: str,
    rotation: Rotation,
    header: bytes = b"",
    told: Callable[[str], None] = lambda _: None,
    mark: Mark = NO_MARK,
    begin: bytes = b"",
) -> Sink:
    """``-``: standard output; ``unix:PATH``: a socket; else a file, as in `RotatedFile`. Raises FlowsError."""
    place = output_place(output)
    if place == STDOUT:
        return StandardOutput(header, told)
    if place.startswith(SOCKET_PREFIX):
        return UnixSocket(place.removeprefix(SOCKET_PREFIX), header, told)
    return RotatedFile(place, rotation, header, told, mark, begin)


def _stamp(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
