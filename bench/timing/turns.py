"""Contenders in turn: warmed up, cut to their steady part, and what the noise allows to say of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..figures import Interval, TurnFigures
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
            call_seconds = [self._timed() for _ in range(2)]
            while sum(call_seconds) < WARM_UP:
                call_seconds.append(self._timed())
        except Exception as error:  # whatever a library raises is this contender's own failure
            self.turns.error = one_line(error)
            return
        self._number = 0
        self._per_turn = max(1, int(self._seconds / TURNS / float(np.median(call_seconds[len(call_seconds) // 2 :]))))

    def __call__(self) -> None:
        if self.turns.error or (self._spent > 2 * self._seconds and len(self.turns.calls) >= LEAST_TURNS):
            return
        cpu = self._cpu_clock()
        try:
            call_seconds = [self._timed() for _ in range(self._per_turn)]
        except Exception as error:
            self.turns.error = one_line(error)
            return
        self.turns.cpu.append(self._cpu_clock() - cpu)
        self.turns.calls.append(call_seconds)
        self._spent += sum(call_seconds)


def one_line(error: Exception) -> str:
    """An error's first line, or its name where it has no text."""
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


def median_interval(values: Sequence[float], seed: int = 0) -> Interval:
    """The 95 % bootstrap interval of the median over turns."""
    table = np.asarray(values)
    draws = np.random.default_rng(seed).integers(0, len(table), (RESAMPLES, len(table)))
    low, high = np.quantile(np.median(table[draws], axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def usual_range(values: Sequence[float]) -> Interval:
    """Between the outer tenths of the turns: what another run may well give, which the interval of the median,
    narrow as it is after many turns, does not tell."""
    low, high = np.percentile(np.asarray(values, np.float64), [10, 90])
    return float(low), float(high)


def relative_spread(values: Sequence[float]) -> float:
    """Interquartile range over the median."""
    low, middle, high = np.percentile(np.asarray(values, np.float64), [25, 50, 75])
    return float((high - low) / middle)


def turn_figures(turns: Turns, against: Turns | None = None) -> TurnFigures | None:
    """The figures of one contender, with its speed-up over another; None where it has not one turn."""
    if not turns.calls:
        return None
    cut = steady_from(turns.seconds)
    pooled = Spread(tuple(value for turn in turns.calls[cut:] for value in turn))
    rates = [turns.flows / seconds for seconds in turns.seconds[cut:]]
    # The clock of processor time may be too coarse for a turn.
    cpu_rates = [turns.flows * len(calls) / cpu for calls, cpu in zip(turns.calls, turns.cpu, strict=True) if cpu > 0]
    percentiles = {
        percent: 1e6 * pooled.percentile(percent) if len(pooled.values) >= fewest else None
        for percent, fewest in PERCENTILES.items()
    }
    ratio = ratio_interval = None
    if against is not None and against is not turns and against.calls:
        ratio, ratio_interval = speed_up(turns, against)
    return TurnFigures(
        calls=len(pooled.values),
        turns=len(rates),
        discarded_turns=cut,
        p50_us=percentiles[50],
        p90_us=percentiles[90],
        p95_us=percentiles[95],
        p99_us=percentiles[99],
        max_us=1e6 * pooled.high,
        flows_per_s=float(np.median(rates)),
        flows_per_s_interval=median_interval(rates),
        flows_per_s_range=usual_range(rates),
        flows_per_cpu_s=float(np.median(cpu_rates)) if cpu_rates else None,
        flows_per_cpu_s_range=usual_range(cpu_rates) if cpu_rates else None,
        spread=relative_spread(rates),
        steady=cut < len(turns.calls) // 2 or len(turns.calls) < 2 * LEAST_TURNS,
        noisy=relative_spread(rates) > NOISY,
        speed_up=ratio,
        speed_up_interval=ratio_interval,
    )


def speed_up(turns: Turns, against: Turns) -> tuple[float, Interval]:
    """How many times faster, turn by turn, and its interval."""
    both = min(len(turns.calls), len(against.calls))
    paired = Paired({"ours": Spread(turns.seconds[:both]), "theirs": Spread(against.seconds[:both])})
    ratios = paired.speed_up("ours", against="theirs").values
    return float(np.median(ratios)), median_interval(ratios)
