"""How far a run has come with each file, kept so that the next one neither repeats nor loses a row."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
from dataclasses import dataclass, field

from etcc_edge.errors import FlowsError
from etcc_edge.serve.sinks import NO_MARK, Mark

_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS places (key TEXT PRIMARY KEY, place TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS output (number INTEGER PRIMARY KEY, inode TEXT NOT NULL, size INTEGER NOT NULL);
"""


@dataclass
class Place:
    """How far a file's records are written.

    ``key``: the file, whatever its name. ``offset``: the first byte that is not done. ``number``: of the lines that are
    done, or of the flows of a capture. ``start``: a hash of the file's first ``hashed`` bytes, by which it is known
    again. ``rested``: the file's size when nothing was left to do, since it had been quiet. ``rests``: the offsets at
    which a capture's open flows were ended for that. ``cut``: how its packets were cut into flows, in words.
    """

    key: str
    offset: int = 0
    number: int = 0
    start: str = ""
    hashed: int = 0
    rested: int = 0
    rests: list[int] = field(default_factory=list)
    cut: str = ""

    @classmethod
    def parse(cls, text: str) -> Place:
        """What `Progress` keeps. Raises ValueError for what is no place."""
        try:
            place = cls(**json.loads(text))
            numbers = [place.offset, place.number, place.hashed, place.rested, *place.rests]
        except (TypeError, RecursionError) as error:
            raise ValueError from error
        texts = (place.key, place.start, place.cut)
        if not (all(isinstance(text, str) for text in texts) and all(map(_is_count, numbers))):
            raise ValueError
        return place


class Progress:
    """The places in all files and the mark of the output, in an SQLite database at ``path``; empty: in memory.

    After a kill the database has what `save` has saved. Raises FlowsError where it cannot be used, or another run uses
    it.
    """

    def __init__(self, path: str | os.PathLike[str] = "") -> None:
        self.path = os.fspath(path)
        self.mark: Mark = NO_MARK
        try:
            self._database = sqlite3.connect(self.path or ":memory:", timeout=0)
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise FlowsError(f"{self.path}: was written by another version of etcc-edge; name another --state")
            self._database.executescript(f"{_TABLES} PRAGMA user_version = {_VERSION};")
            rows = self._database.execute("SELECT place FROM places").fetchall()
            self.places = {place.key: place for place in (Place.parse(text) for (text,) in rows)}
            for inode, size in self._database.execute("SELECT inode, size FROM output"):
                self.mark = (int(inode), size)
                if not _is_count(size):
                    raise ValueError
        except sqlite3.Error as error:
            reason = "another run uses it" if "locked" in str(error) else str(error)
            raise FlowsError(f"{self.path}: the state cannot be used: {reason}") from error
        except (TypeError, ValueError) as error:
            raise FlowsError(f"{self.path}: the state is damaged; remove it, or name another --state") from error

    def save(self, place: Place | None, mark: Mark) -> None:
        """A place, and the mark of an output that has all records up to there. Raises OSError where it cannot."""
        try:
            with self._database as database:
                if place is not None:
                    database.execute("REPLACE INTO places VALUES (?, ?)", (place.key, json.dumps(vars(place))))
                if mark != self.mark:
                    database.execute("REPLACE INTO output VALUES (1, ?, ?)", (str(mark[0]), mark[1]))
        except sqlite3.Error as error:
            raise OSError(errno.EIO, f"{self.path}: {error}") from error
        if place is not None:
            self.places[place.key] = place
        self.mark = mark

    def forget(self, key: str) -> None:
        """A file that is there no more. Where that cannot be kept, the next run does it."""
        self.places.pop(key, None)
        with contextlib.suppress(sqlite3.Error), self._database as database:
            database.execute("DELETE FROM places WHERE key = ?", (key,))

    def close(self) -> None:
        self._database.close()


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63
