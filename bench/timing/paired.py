"""Paired, interleaved timing of callables and of whole processes.

The things compared take turns, so that a machine that slows down slows them all; the ratio is taken turn by
turn. A measurement is a value; printing it is another module's work.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """A figure over repeats."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return float(np.median(self.values))

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def percentile(self, percent: float) -> float:
        """Linear between the nearest values."""
        return float(np.percentile(self.values, percent))


@dataclass(frozen=True)
class Paired:
    """Seconds of each contender, one value a turn, in step with each other."""

    seconds: Mapping[str, Spread]

    def speed_up(self, name: str, against: str) -> Spread:
        """How many times faster ``name`` is than ``against``, turn by turn."""
        pairs = zip(self.seconds[against].values, self.seconds[name].values, strict=True)
        return Spread(tuple(theirs / ours for theirs, ours in pairs))


def time_paired(
    contenders: Mapping[str, Callable[[], object]],
    turns: int = 5,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Paired:
    """Calls every contender ``warm_up`` times, then once a turn; every other turn in reverse order."""
    for contender in contenders.values():
        for _ in range(warm_up):
            contender()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns):
        names = list(contenders)
        for name in names if turn % 2 == 0 else reversed(names):
            start = clock()
            contenders[name]()
            seconds[name].append(clock() - start)
    return Paired({name: Spread(tuple(values)) for name, values in seconds.items()})


@dataclass(frozen=True)
class ProcessRun:
    seconds: float  # wall clock, from start to exit
    cpu_seconds: float  # user and system, of the process and the children that it waited for
    peak_bytes: int  # largest resident set of the process


# Runs in a small process of its own: Linux carries the largest resident set over from parent to child.
_LAUNCHER = """
import json, os, sys, time
quiet = os.open(os.devnull, os.O_RDWR)
actions = [(os.POSIX_SPAWN_DUP2, quiet, fd) for fd in (0, 1, 2)]
start = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=actions)
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - start
json.dump([os.waitstatus_to_exitcode(status), seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss], sys.stdout)
"""


def run_process(command: Sequence[str]) -> ProcessRun:
    """Runs a command to its end, without input, its output thrown away. Raises CalledProcessError where it
    fails, FileNotFoundError where there is none."""
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(command[0])
    launcher = [sys.executable, "-S", "-c", _LAUNCHER, *command]
    exit_code, seconds, cpu_seconds, peak_kib = json.loads(
        subprocess.run(launcher, capture_output=True, check=True).stdout
    )
    if exit_code:
        raise subprocess.CalledProcessError(exit_code, list(command))
    return ProcessRun(seconds, cpu_seconds, peak_kib * 1024)
