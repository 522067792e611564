"""Files that other programs write to labelled records until told to stop: one that grows, or those of a folder.

A file is known by its number in the file system, whatever its name, so that one that is rotated is read to its end.
Every record that the output has is in the state, and no other: what a killed run wrote beyond it is cut off.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from etcc_edge.bundle import Bundle
from etcc_edge.errors import EtccError
from etcc_edge.flows.names import one_line
from etcc_edge.infer.classifier import Classifier
from etcc_edge.serve.following import CAPTURE_SUFFIXES, Followed, Part, follow
from etcc_edge.serve.progress import Place, Progress
from etcc_edge.serve.records import RecordFormat
from etcc_edge.serve.sinks import Sink

SUFFIXES = (".csv", ".arff", *CAPTURE_SUFFIXES)
"""How the names of a folder's files end that are followed."""
LOOK_SECONDS = 0.2
_HASHED = 4096
_GONE_SECONDS = 2.0  # a file that is being renamed is missed for a moment
_SHORT_QUIET_SECONDS = 10.0
_LAST_SECONDS = 1.0
_MOST_RESTING = 64  # in memory: they may go on


@dataclass
class _Known:
    """A file that was met, by its last ``name``. ``size`` and ``changed``: what it was when it was last looked at;
    ``since``: when it became so, by the monotonic clock. ``is_due``: something may have come. ``is_refused``: what
    comes cannot be read."""

    name: str
    place: Place
    since: float
    size: int = -1
    changed: int = 0
    is_due: bool = False
    is_refused: bool = False
    followed: Followed | None = None

    @property
    def rests(self) -> bool:
        """Whether nothing is left to do."""
        return self.place.rested == self.size


class _NotSaved(Exception):
    """The state could not take what was written. No more may be written, since a later run would not cut it off."""


class Watch:
    """``path``: a folder or a file, which need not be there yet. ``wanted``: a bundle, or auto. ``told`` gets lines for
    the log. `look` again and again.

    ``flows`` were written. ``stop`` ends it between two records.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        progress: Progress,
        records: RecordFormat,
        sink: Sink,
        *,
        wanted: str = "auto",
        max_flows: int = 200_000,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.flows = 0
        self.stop = threading.Event()
        self._folder = Path(path) if Path(path).is_dir() else Path(path).parent
        self._name = None if Path(path).is_dir() else Path(path).name
        self._progress = progress
        self._records = records
        self._sink = sink
        self._wanted = wanted
        self._max_flows = max_flows
        self._told = told
        self._known: dict[str, _Known] = {}
        self._classifiers: dict[str, Classifier] = {}
        self._complaints: set[str] = set()
        self._missing: dict[str, float] = {}  # files, and since when
        self._unsettled: deque[tuple[int, Place]] = deque()  # with what the sink had sent by then

    def run(self) -> None:
        """Until `stop`."""
        while not self.stop.is_set():
            if not self.look():
                self.stop.wait(LOOK_SECONDS)

    def end(self) -> None:
        """Tells what is to be told of the files that are followed, and leaves the reader a moment for the last
        records."""
        until = time.monotonic() + _LAST_SECONDS
        while self._settle() and self._unsettled and time.monotonic() < until:
            time.sleep(0.02)
        for known in self._known.values():
            if known.followed is not None:
                known.followed.sum_up()
                self._tell_notes(known, known.followed)

    def look(self) -> bool:
        """Reads some of what has come; whether there was anything."""
        # A file that the output began has its mark before its first byte: a kill then finds what to cut off.
        if self._sink.mark() != self._progress.mark and not self._save(None):
            return False
        self._settle()
        worked = False
        files = self._files()
        for path, status in files:
            if self.stop.is_set():
                return worked
            known = self._known_as(path.name, status)
            with self._telling(known):
                worked |= self._look_at(path, status, known)
        self._forget({_key(status) for _, status in files})
        self._sink.tick()
        return worked

    @contextlib.contextmanager
    def _telling(self, known: _Known) -> Iterator[None]:
        """Around what is done with a file: what goes wrong is told, and the others go on."""
        try:
            yield
        except (BrokenPipeError, MemoryError):
            raise
        except _NotSaved:
            pass
        except OSError as error:
            self._tell_once(f"{known.name}: cannot be read: {error.strerror or error}")
        except Exception as error:
            known.is_refused = True
            text = str(error) if isinstance(error, EtccError) else f"{type(error).__name__}: {error}"
            waiting = "" if self._name is None else "; waiting for it to be written anew"
            self._tell_once(f"Error: {text if text.startswith(known.name) else f'{known.name}: {text}'}{waiting}")

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        """What is followed, by name; files that had a name of ours before are among them."""
        files = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    is_wanted = self._is_wanted(entry.name)
                    if not (is_wanted or self._is_met(str(entry.inode()))):
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=self._name is not None)
                        if stat.S_ISREG(status.st_mode):
                            files.append((Path(entry.path), status))
                        elif is_wanted:
                            kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no regular file"
                            self._tell_once(f"{entry.name}: is {kind}, which is not followed")
        except OSError as error:
            self._tell_once(f"{self._folder}: {error.strerror or error}; waiting")
        return sorted(files, key=lambda file: file[0])

    def _is_wanted(self, name: str) -> bool:
        if self._name is not None:
            return name == self._name
        return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES

    def _is_met(self, key: str) -> bool:
        return key in self._known or key in self._progress.places

    def _known_as(self, name: str, status: os.stat_result) -> _Known:
        """The file, with what has changed about it."""
        now = time.monotonic()
        key = _key(status)
        known = self._known.get(key)
        if known is None:
            age = max(0.0, time.time() - status.st_mtime)
            known = _Known(name, self._progress.places.get(key) or Place(key), now - age)
            self._known[key] = known
            known.size, known.changed = status.st_size, status.st_mtime_ns
            known.is_due = not known.rests
        elif (known.size, known.changed) != (status.st_size, status.st_mtime_ns):
            known.size, known.changed = status.st_size, status.st_mtime_ns
            known.since, known.is_due = now, True
        return known

    def _look_at(self, path: Path, status: os.stat_result, known: _Known) -> bool:
        quiet = 0.0 if known.rests or known.is_refused else time.monotonic() - known.since
        is_quiet = known.followed is not None and quiet >= known.followed.quiet_seconds
        if known.followed is None and not known.is_due and quiet >= _SHORT_QUIET_SECONDS:
            self._tell_once(f"{path.name}: holds too little to tell what it is ({known.size} bytes); waiting for more")
        if not known.is_due and not is_quiet:
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if not os.path.samestat(os.fstat(descriptor), status):
                return True  # the name is another file's by now
            if not self._check_start(descriptor, known, path.name):
                return False
            known.name = path.name
            return self._read(descriptor, known, is_quiet=is_quiet)
        finally:
            os.close(descriptor)

    def _check_start(self, descriptor: int, known: _Known, name: str) -> bool:
        """Begins anew with a file that was cut or replaced. False for one that is none of ours: it has the number of
        one that is gone."""
        place, start = known.place, os.pread(descriptor, _HASHED, 0)
        done = place.offset if known.followed is None else known.followed.offset
        is_same = os.fstat(descriptor).st_size >= done and _hash(start[: place.hashed]) == (place.start or _hash(b""))
        if not self._is_wanted(name) and not (is_same and place.hashed):
            if self._finish(known):
                self._drop(place.key)
            return False
        if not is_same:
            self._told(f"{name}: was cut or replaced; read from its begin")
            self._finish(known)
            known.place = place = Place(place.key)
            known.followed, known.is_refused = None, False
        if place.hashed < len(start):
            place.start, place.hashed = _hash(start), len(start)
        return True

    def _read(self, descriptor: int, known: _Known, *, is_quiet: bool) -> bool:
        known.is_due = False
        if known.followed is None:
            known.followed = follow(
                descriptor,
                known.name,
                known.place,
                self._wanted,
                self._classifier,
                self._records.identity,
                self._max_flows,
            )
            known.is_refused = False
        followed = known.followed
        if followed is None or known.is_refused:
            return False
        before = followed.offset
        self._write(followed.read(descriptor), known)
        known.is_due = followed.offset != before
        if is_quiet and not known.is_due and self._write(followed.rest(descriptor), known):
            known.place.rested = known.size
            self._keep(known.place)
        self._tell_notes(known, followed)
        return known.is_due

    def _write(self, parts: Iterable[Part], known: _Known) -> bool:
        """Whether all were written before `stop`."""
        place = known.place
        name = self._records.text(one_line(known.name))
        for part in parts:
            cells = [[*row, name, str(line)] for row, line in zip(part.cells, part.lines, strict=True)]
            lines = self._records.lines(cells, part.bundle, part.result)
            written = rows = saved = 0

            def reached(done: int, part: Part = part, lines: bytes = lines) -> None:
                nonlocal written, rows, saved
                rows += lines.count(b"\n", written, done)
                written = done
                if rows:
                    place.offset, place.number = part.offsets[rows - 1], part.numbers[rows - 1]
                if not self._keep(place):
                    raise _NotSaved
                saved = rows

            try:
                self._sink.write(lines, reached)
            finally:  # also where a reader left after some of them
                self.flows += saved
            if self.stop.is_set():
                return False
        return True

    def _keep(self, place: Place) -> bool:
        """Saves a place when what was written up to there cannot be lost any more. False where that failed."""
        self._unsettled.append((self._sink.sent, replace(place, rests=[*place.rests])))
        return self._settle()

    def _settle(self) -> bool:
        read = self._sink.sent - self._sink.unread()
        while self._unsettled and self._unsettled[0][0] <= read:
            if not self._save(self._unsettled[0][1]):
                return False
            self._unsettled.popleft()
        return True

    def _save(self, place: Place | None) -> bool:
        """Whether it was, before `stop`."""
        while True:
            try:
                self._progress.save(place, self._sink.mark())
            except OSError as error:
                if not self._sink.wait(error.strerror or str(error)):
                    return False
            else:
                return True

    def _finish(self, known: _Known) -> bool:
        """Writes what waits in memory for more, of a file that is gone. Whether all was written before `stop`."""
        if known.followed is None:
            return True
        if not (known.rests or known.is_refused or self._write(known.followed.rest(None), known)):
            return False
        known.followed.sum_up()
        self._tell_notes(known, known.followed)
        known.followed = None
        return True

    def _tell_notes(self, known: _Known, followed: Followed) -> None:
        for note in followed.notes:
            self._told(f"{known.name}: {note}")
        followed.notes.clear()

    def _forget(self, present: set[str]) -> None:
        """Files that are gone; and in memory, of those that rest, the oldest."""
        now = time.monotonic()
        places = self._progress.places
        self._missing = {key: self._missing.get(key, now) for key in (places.keys() | self._known.keys()) - present}
        for key, since in self._missing.items():
            known = self._known.get(key)
            if now - since <= _GONE_SECONDS:
                continue
            if known is not None:
                with self._telling(known):
                    self._finish(known)
                if known.followed is not None and not known.is_refused:
                    continue  # `stop` came
            if places.keys() & present:  # none is there where a disk is not mounted
                self._drop(key)
        resting = [known for known in self._known.values() if known.followed is not None and known.rests]
        for known in sorted(resting, key=lambda known: known.since)[:-_MOST_RESTING]:
            known.followed = None

    def _drop(self, key: str) -> None:
        self._unsettled = deque(place for place in self._unsettled if place[1].key != key)
        self._progress.forget(key)
        self._known.pop(key, None)

    def _classifier(self, bundle: Bundle | str) -> Classifier:
        key = bundle if isinstance(bundle, str) else bundle.digest()
        if key not in self._classifiers:
            self._classifiers[key] = Classifier(bundle)
        return self._classifiers[key]

    def _tell_once(self, text: str) -> None:
        if text not in self._complaints:
            self._complaints.add(text)
            self._told(text)


def _key(status: os.stat_result) -> str:
    return str(status.st_ino)  # the number of the disk may be another one after a start of the machine


def _hash(start: bytes) -> str:
    return hashlib.sha256(start).hexdigest()
