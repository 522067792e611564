"""Where a measurement was made: what a reader needs to compare it with another."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import etcc_edge._native as _native
from etcc_edge.engines.measured import cpu_name
from etcc_edge.infer.threads import usable_cpus

from ..figures import Environment

_LIBRARIES = (
    "etcc-edge numpy onnxruntime safetensors torch xgboost-cpu xgboost scikit-learn pandas polars tensorrt "
    "tensorrt-rtx pycuda"
).split()
_SIMD = re.compile(r"\b(sse4_2|avx\w*|fma|f16c|amx\w*|asimd\w*|sve\w*|bf16|i8mm)\b")
_TICKS = os.sysconf("SC_CLK_TCK")


def environment() -> Environment:
    """Of this machine, and of the Python and libraries that this process runs."""
    cpu_facts = _read("/proc/cpuinfo")
    return Environment(
        cpu=cpu_name(),
        flags=sorted(set(_SIMD.findall(cpu_facts))),
        instruction_sets=_native.instruction_sets(),
        cpus=usable_cpus(),
        virtual="hypervisor" in cpu_facts,
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=platform.platform(terse=True),
        gpu_driver=_read("/proc/driver/nvidia/version").split("\n")[0] or None,
        python=platform.python_version(),
        libraries={name: version for name in _LIBRARIES if (version := _version(name))},
        commit=_commit(),
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Of the source that runs, with + for changes; None where it is no checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "")


class OthersWatch:
    """How much of the processors others took since it was made: other processes, and a hypervisor's other guests."""

    def __init__(
        self,
        stat: Path = Path("/proc/stat"),
        clock: Callable[[], float] = time.monotonic,
        own_clock: Callable[[], float] = lambda: sum(os.times()[:4]),
    ) -> None:
        self._stat, self._clock, self._own_clock = stat, clock, own_clock
        self._start = self._read()

    def _read(self) -> tuple[float, float, float] | None:
        """Seconds: busy, of all processors; of them this process and the children that it waited for; wall clock."""
        fields = _read(self._stat).split("\n")[0].split()[1:9]
        if len(fields) < 8:
            return None
        user, nice, system, _, _, irq, soft, steal = map(int, fields)
        return (user + nice + system + irq + soft + steal) / _TICKS, self._own_clock(), self._clock()

    def share(self) -> float | None:
        """Of all processors' time, 0 to 1; None where the system does not say."""
        now = self._read()
        if now is None or self._start is None:
            return None
        busy, own, wall = (b - a for a, b in zip(self._start, now, strict=True))
        return min(1.0, max(0.0, (busy - own) / max(wall * (os.cpu_count() or 1), 1e-9)))


class EnergyMeter:
    """Joules of the processor packages since the machine started, where it has counters (RAPL) that may be read."""

    def __init__(self, folder: Path = Path("/sys/class/powercap")) -> None:
        self._zones = sorted(folder.glob("intel-rapl:[0-9]")) if folder.is_dir() else []
        self.why_not = "" if self._zones else "the machine has no RAPL counters in /sys/class/powercap"
        try:
            self.joules()
        except (OSError, ValueError) as error:
            self._zones, self.why_not = [], f"its RAPL counters cannot be read ({error.__class__.__name__})"

    def joules(self) -> list[tuple[float, float]]:
        """By package: the counter, and the value at which it starts anew."""
        return [
            (float((zone / "energy_uj").read_text()) / 1e6, float((zone / "max_energy_range_uj").read_text()) / 1e6)
            for zone in self._zones
        ]

    @staticmethod
    def between(before: list[tuple[float, float]], after: list[tuple[float, float]]) -> float:
        return sum((end - start) % limit for (start, limit), (end, _) in zip(before, after, strict=True))


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
