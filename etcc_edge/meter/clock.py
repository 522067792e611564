"""A clock that nobody sets: flows would last an hour too long, or end too early, where the machine's is set."""

from __future__ import annotations

import time
from typing import NamedTuple

SMALLEST_STEP = 1_000_000
"""Microseconds; a clock that is set by less counts as one that runs unevenly."""


class Reading(NamedTuple):
    """In microseconds. ``now``: the time since 1970 as if the clock had never been set; ``step_before`` and ``step``:
    by how much it had been set at the last reading, and at this one."""

    now: int
    step_before: int
    step: int


class SteadyClock:
    """The time of day as of its making, and what has passed since then, sleep included."""

    def __init__(self) -> None:
        self._offset = self._offset_now()
        self._step = 0

    def read(self) -> Reading:
        """The time, and by how much the machine's clock has been set since this one was made."""
        before = self._step
        step = self._offset_now() - self._offset
        if abs(step - before) >= SMALLEST_STEP:
            self._step = step
        return Reading(self._since_start() + self._offset, before, self._step)

    def _offset_now(self) -> int:
        return time.time_ns() // 1000 - self._since_start()

    def _since_start(self) -> int:
        """Of the machine."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
