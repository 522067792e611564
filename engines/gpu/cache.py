"""Compiled engines on disk: found by what they were made from, checked before a byte of them is used.

An engine file is code for the GPU, so nothing is loaded but what this cache's own manifest vouches for. The
manifest lies in a folder that only the user can write; where that is not so, the cache is refused.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from etcc_edge.errors import BackendError

from ..cache_root import cache_root

FORMAT = 1
SIZE_LIMIT = 2 << 30  # bytes of engines
_MANIFEST_LIMIT = 64 << 10  # bytes


@dataclass(frozen=True)
class CachedEngine:
    """An engine's bytes, whether they were built now, and why an older file was not taken."""

    data: bytes
    built: bool
    refused: str = ""
    seconds: float = 0.0  # of building


class EngineCache:
    """A folder of engines, each beside its manifest; both named by the hash of the recipe.

    A recipe is a flat table of texts that says everything an engine depends on: hashes of the ONNX file, the
    scaler and the calibration, precision, profile, library version, driver, compute capability. Another value
    is another engine. ``folder``: without, ``engines`` in `cache_root`. ``limit``: bytes of engines that are kept, the
    least recently used go first.
    """

    def __init__(self, folder: Path | None = None, limit: int = SIZE_LIMIT) -> None:
        self.folder = folder or cache_root() / "engines"
        self.limit = limit

    def get(self, recipe: Mapping[str, str], build: Callable[[], bytes]) -> CachedEngine:
        """The engine of a recipe; ``build`` is called where there is none, or none that can be trusted.

        Of several processes that want one engine, one builds and the others wait. Where the folder cannot be
        written (a full disk), the engine is built, used and not kept; ``refused`` says so. Raises BackendError
        where the folder is open to others, and whatever ``build`` raises.
        """
        key = recipe_key(recipe)
        try:
            self._prepare()
            with self._locked(key):
                self._remove_partials(key)
                data, refused = self._read(key, recipe)
                if data is not None:
                    return CachedEngine(data, built=False)
                start = time.perf_counter()
                data = build()
                seconds = time.perf_counter() - start
                try:
                    self._write(key, recipe, data)
                    self._evict(keep=key)
                except OSError as error:
                    refused = _joined(refused, f"not kept: {error.strerror or error}")
                return CachedEngine(data, True, refused, seconds)
        except _Unusable as error:
            start = time.perf_counter()
            data = build()
            return CachedEngine(data, True, str(error), time.perf_counter() - start)

    # --- files ----------------------------------------------------------------------------------------------

    def _paths(self, key: str) -> tuple[Path, Path]:
        return self.folder / f"{key}.engine", self.folder / f"{key}.json"

    def _prepare(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _Unusable(f"not kept: {self.folder}: {error.strerror or error}") from error
        _check_private(self.folder)
        for partial in self.folder.glob("*.partial"):  # of a builder that was killed
            with contextlib.suppress(OSError):
                if time.time() - partial.stat().st_mtime > 3600:
                    partial.unlink()

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        try:
            handle = os.open(self.folder / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _Unusable(f"not kept: {self.folder}: {error.strerror or error}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _remove_partials(self, key: str) -> None:
        """What a killed builder of this engine left behind: whoever holds its lock is its only builder."""
        for partial in self.folder.glob(f".{key}.*.partial"):
            with contextlib.suppress(OSError):
                partial.unlink()

    def _read(self, key: str, recipe: Mapping[str, str]) -> tuple[bytes | None, str]:
        engine, manifest = self._paths(key)
        if not engine.exists() and not manifest.exists():
            return None, ""
        try:
            table = json.loads(_read_private(manifest, _MANIFEST_LIMIT))
            if table.get("format") != FORMAT or table.get("recipe") != dict(recipe):
                return None, "its manifest is another engine's"
            if type(table["bytes"]) is not int or table["bytes"] < 0:
                return None, "its manifest is damaged"
            data = _read_private(engine, table["bytes"])
            if len(data) != table["bytes"]:
                return None, f"it has {len(data)} bytes, its manifest says {table['bytes']}"
            if hashlib.sha256(data).hexdigest() != table["sha256"]:
                return None, "its SHA-256 is not its manifest's"
        except FileNotFoundError as error:
            return None, f"{Path(error.filename).name} is missing, so nothing vouches for the rest"
        except _Refused as error:
            return None, str(error)
        except OSError as error:
            return None, f"it cannot be read: {error.strerror or error}"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None, "its manifest is damaged"
        with contextlib.suppress(OSError):
            os.utime(engine)  # used now
        return data, ""

    def _write(self, key: str, recipe: Mapping[str, str], data: bytes) -> None:
        """The engine first, its manifest last: an engine without manifest is never loaded."""
        engine, manifest = self._paths(key)
        table = {
            "format": FORMAT,
            "recipe": dict(recipe),
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        with contextlib.suppress(FileNotFoundError):
            manifest.unlink()
        self._replace(engine, data)
        self._replace(manifest, json.dumps(table, indent=1, sort_keys=True).encode())

    def _replace(self, path: Path, data: bytes) -> None:
        handle, partial = tempfile.mkstemp(dir=self.folder, prefix=f".{path.name}.", suffix=".partial")  # mode 0600
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(partial)
            raise

    def _evict(self, keep: str) -> None:
        engines, total = [], 0
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if path.suffix == ".engine":
                    engines.append((status.st_mtime_ns, status.st_size, path))
                # A part-written file, of a builder at work or killed, takes the same room.
                if path.suffix in (".engine", ".partial"):
                    total += status.st_size
        for _, size, path in sorted(engines):
            if total <= self.limit:
                return
            if path.stem != keep:
                for stale in (path.with_suffix(".json"), path):
                    with contextlib.suppress(FileNotFoundError):
                        stale.unlink()
                total -= size


class _Refused(Exception):
    """A file that is not to be trusted."""


class _Unusable(Exception):
    """The cache cannot be used, and the engine can still be built."""


def recipe_key(recipe: Mapping[str, str]) -> str:
    """SHA-256 of the recipe, the name of its files."""
    text = json.dumps(dict(recipe), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _check_private(folder: Path) -> None:
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BackendError(
            f"{folder}: others can write to this engine cache, and engines are code; chmod 700 it, or name another "
            "folder in ETCC_EDGE_CACHE"
        )


def _read_private(path: Path, limit: int) -> bytes:
    """A regular file that is the user's own and no one else's to write, at most ``limit`` bytes of it and one."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _Refused(f"{path.suffix[1:]} file is a link") from error
        raise
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _Refused(f"{path.suffix[1:]} file is no plain file")
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise _Refused(f"{path.suffix[1:]} file is open to others")
        return file.read(min(limit, status.st_size) + 1)


def _joined(*reasons: str) -> str:
    return "; ".join(reason for reason in reasons if reason)
