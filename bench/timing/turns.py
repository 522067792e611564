"""Contenders in turn: warmed up, cut to their steady part, and what the noise allows to say of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .paired import Paired, Spread, time_paired

Clock = Callable[[], float]

TURNS = 20
LEAST_TURNS = 5  # of a contender too slow for more in its time
WARM_UP = 0.05  # seconds, at least; and two calls
NOISY = 0.10  # interquartile range of the turns, of their median
LEVEL, RESAMPLES = 0.95, 1000
# Calls that a percentile needs: with fewer, nothing but the largest value lies above it.
PERCENTILES = {50: 1, 90: 10, 95: 20, 99: 100}


@dataclass
class Turns:
    """What one contender took: by turn, the seconds of each call, and seconds of processor time of all of them."""

    flows: int  # a call
    calls: list[list[float]] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    error: str = ""

    @property
    def seconds(self) -> tuple[float, ...]:
        """Mean seconds of a call, by turn."""
        return tuple(sum(turn) / len(turn) for turn in self.calls)


class _Runner:
    """A contender's turns; none any more after an error, or once its time is spent."""

    def __init__(self, call: Callable[[int], object], flows: int, seconds: float, clock: Clock, cpu_clock: Clock):
        self.turns = Turns(flows)
        self._call, self._seconds, self._clock, self._cpu_clock = call, seconds, clock, cpu_clock
        self._number, self._per_turn, self._spent = 0, 1, 0.0

    def _timed(self) -> float:
        start = self._clock()
        self._call(self._number)
        self._number += 1
        return self._clock() - start

    def warm_up(self) -> None:
        try:
            taken = [self._timed() for _ in range(2)]
            while sum(taken) < WARM_UP:
                taken.append(self._timed())
        except Exception as error:  # whatever a library raises is this contender's own failure
            self.turns.error = said(error)
            return
        self._number = 0
        self._per_turn = max(1, int(self._seconds / TURNS / float(np.median(taken[len(taken) // 2 :]))))

    def __call__(self) -> None:
        if self.turns.error or (self._spent > 2 * self._seconds and len(self.turns.calls) >= LEAST_TURNS):
            return
        cpu = self._cpu_clock()
        try:
            taken = [self._timed() for _ in range(self._per_turn)]
        except Exception as error:
            self.turns.error = said(error)
            return
        self.turns.cpu.append(self._cpu_clock() - cpu)
        self.turns.calls.append(taken)
        self._spent += sum(taken)


def said(error: Exception) -> str:
    """An error in one line."""
    return " ".join((str(error).splitlines() or [type(error).__name__])[0].split())


def take_turns(
    calls: Mapping[str, Callable[[int], object]],
    flows: int,
    *,
    seconds: float,
    clock: Clock = time.perf_counter,
    cpu_clock: Clock = time.process_time,
) -> dict[str, Turns]:
    """Times contenders on batches of ``flows`` flows, about ``seconds`` each, in `TURNS` turns.

    A contender is called with 0, 1, 2, … so that all get the same batches. One that raises an exception keeps what
    it has, with the error; the others go on.
    """
    runners = {name: _Runner(call, flows, seconds, clock, cpu_clock) for name, call in calls.items()}
    for runner in runners.values():
        runner.warm_up()
    time_paired(runners, TURNS, warm_up=0, clock=clock)
    return {name: runner.turns for name, runner in runners.items()}


def steady_from(values: Sequence[float]) -> int:
    """The turn at which the steady state begins: the cut that leaves the smallest standard error of the mean
    (White's marginal standard error rule, 1997), at most half of the turns."""
    rest = [np.asarray(values[cut:]) for cut in range(len(values) // 2 + 1)]
    return int(np.argmin([part.var() / len(part) for part in rest]))


def median_interval(values: Sequence[float], seed: int = 0) -> list[float]:
    """The 95 % bootstrap interval of the median over turns."""
    table = np.asarray(values)
    drawn = np.random.default_rng(seed).integers(0, len(table), (RESAMPLES, len(table)))
    low, high = np.quantile(np.median(table[drawn], axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]


def usual_range(values: Sequence[float]) -> list[float]:
    """Between the outer tenths of the turns: what another run may well give, which the interval of the median,
    narrow as it is after many turns, does not tell."""
    low, high = np.percentile(np.asarray(values, np.float64), [10, 90])
    return [float(low), float(high)]


def relative_spread(values: Sequence[float]) -> float:
    """Interquartile range over the median."""
    low, middle, high = np.percentile(np.asarray(values, np.float64), [25, 50, 75])
    return float((high - low) / middle)


def figures(turns: Turns, against: Turns | None = None) -> dict[str, Any]:
    """The figures of one contender, for JSON; ``error`` alone where it has not one turn.

    Latencies are microseconds over all calls of the steady turns, None where there are too few for a percentile;
    ``flows_per_s`` is the median of the turns, with its interval and `usual_range`; ``flows_per_cpu_s`` counts
    seconds of processor time. ``speed_up`` is how many times faster than ``against``, taken turn by turn, with its
    interval.
    """
    if not turns.calls:
        return {"error": turns.error}
    cut = steady_from(turns.seconds)
    pooled = Spread(tuple(value for turn in turns.calls[cut:] for value in turn))
    rates = [turns.flows / seconds for seconds in turns.seconds[cut:]]
    # The clock of processor time may be too coarse for a turn.
    cpu = [turns.flows * len(calls) / spent for calls, spent in zip(turns.calls, turns.cpu, strict=True) if spent > 0]
    made: dict[str, Any] = {
        "calls": len(pooled.values),
        "turns": len(rates),
        "discarded_turns": cut,
        **{
            f"p{percent}_us": 1e6 * pooled.percentile(percent) if len(pooled.values) >= least else None
            for percent, least in PERCENTILES.items()
        },
        "max_us": 1e6 * pooled.high,
        "flows_per_s": float(np.median(rates)),
        "flows_per_s_interval": median_interval(rates),
        "flows_per_s_range": usual_range(rates),
        "flows_per_cpu_s": float(np.median(cpu)) if cpu else None,
        "flows_per_cpu_s_range": usual_range(cpu) if cpu else None,
        "spread": relative_spread(rates),
        "steady": cut < len(turns.calls) // 2 or len(turns.calls) < 2 * LEAST_TURNS,
        "noisy": relative_spread(rates) > NOISY,
    }
    if against is not None and against is not turns and against.calls:
        made["speed_up"], made["speed_up_interval"] = speed_up(turns, against)
    return made | ({"error": turns.error} if turns.error else {})


def speed_up(of: Turns, against: Turns) -> tuple[float, list[float]]:
    """How many times faster, turn by turn, and its interval."""
    both = min(len(of.calls), len(against.calls))
    paired = Paired({"of": Spread(of.seconds[:both]), "against": Spread(against.seconds[:both])})
    ratios = paired.speed_up("of", against="against").values
    return float(np.median(ratios)), median_interval(ratios)
