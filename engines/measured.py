"""What was found out on this machine for a bundle, and ``auto`` reads: the backend that ``bench`` found fastest, the
precision that ``build-engines`` let through on a GPU."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from etcc_edge.bundle.model import Bundle
from etcc_edge.errors import EtccError

from .cache_root import cache_root

FORMAT = 1
_LIMIT = 64 << 10  # bytes
_LIBRARIES = ("etcc-edge", "onnxruntime", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True)
class Recommendation:
    """``backends``: the fastest by precision, among those that gave the same labels, and ``made``, the date of that
    bench. ``gated``: by GPU backend the first precision whose drift passed on the user's flows, empty where none
    did."""

    made: str = ""
    backends: Mapping[str, str] = field(default_factory=dict)
    gated: Mapping[str, str] = field(default_factory=dict)


def folder() -> Path:
    """``recommendations`` in `cache_root`."""
    return cache_root() / "recommendations"


def machine() -> dict[str, str]:
    """What the speed of a backend depends on, as far as it is cheap to find: a recommendation is for these alone."""
    from importlib import metadata  # costs as much as half of this package, and few have a bench's results

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {"cpu": cpu_name(), "cpus": str(cpus), "nvidia_driver": _read("/proc/driver/nvidia/version").split("\n")[0]}
    for library in _LIBRARIES:
        try:
            facts[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            facts[library] = ""
    return facts


def cpu_name() -> str:
    """The processor's name and, since some clouds hide it, its family, model and stepping."""
    import platform

    fields = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", _read("/proc/cpuinfo").split("\n\n")[0], re.MULTILINE))
    parts = [fields[key] for key in ("model name", "cpu family", "model", "stepping") if key in fields]
    return " ".join(parts) or platform.processor() or platform.machine()


def save(bundle: Bundle, recommendation: Recommendation) -> Path:
    """Keeps it for this machine and bundle, in place of an earlier one. Raises EtccError."""
    key = _key(bundle)
    path = _path(key)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial.write_text(json.dumps({"format": FORMAT, "for": key, **asdict(recommendation)}, indent=1) + "\n")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise EtccError(f"{path}: the recommendation cannot be kept: {error.strerror or error}") from error
    return path


def read(bundle: Bundle) -> tuple[Recommendation | None, str]:
    """What was saved for this machine and bundle, or None; and why a file is ignored, empty where there is none."""
    if not folder().is_dir():
        return None, ""
    key = _key(bundle)
    path = _path(key)
    try:
        with path.open("rb") as file:
            table = json.loads(file.read(_LIMIT))
        if table["format"] != FORMAT:
            return None, f"{path} is of another version"
        if table["for"] != key:
            return None, f"{path} is another machine's or bundle's"
        date, backends, gated = table["made"], dict(table["backends"]), dict(table["gated"])
        texts = [date, *backends, *backends.values(), *gated, *gated.values()]
        if not all(isinstance(text, str) for text in texts):
            return None, f"{path} is damaged"
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"{path} cannot be read: {error.strerror or error}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, f"{path} is damaged"
    return Recommendation(date, backends, gated), ""


def _key(bundle: Bundle) -> dict[str, str]:
    return {"bundle": bundle.digest(), **machine()}


def _path(key: Mapping[str, str]) -> Path:
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return folder() / f"{name[:32]}.json"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
