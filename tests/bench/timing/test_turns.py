"""Figures of known latencies under a fake clock; what is noise and what is not."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from etcc_edge.bench.timing.turns import (
    TURNS,
    Turns,
    median_interval,
    speed_up,
    steady_from,
    take_turns,
    turn_figures,
    usual_range,
)


def measured(clock: Any, seconds, flows: int = 8, budget: float = 20.0) -> Turns:
    """One contender whose calls take the seconds in turn."""
    left = itertools.cycle(seconds)

    def call(number: int) -> None:
        clock.now += next(left)

    return take_turns({"fake": call}, flows, seconds=budget, clock=clock, cpu_clock=clock)["fake"]


def test_known_latencies_give_their_percentiles() -> None:
    seconds = [i / 1000 for i in range(1, 101)]
    figures = turn_figures(Turns(8, [seconds] * 4, [sum(seconds)] * 4))
    assert figures.calls == 400
    assert [figures.p50_us, figures.p90_us, figures.p95_us, figures.p99_us] == pytest.approx(
        [50_500, 90_100, 95_100, 99_010], rel=1e-3
    )
    assert figures.max_us == pytest.approx(100_000)


def test_throughput_is_flows_over_seconds_and_its_interval_holds_it(clock: Any) -> None:
    figures = turn_figures(measured(clock, [0.004], flows=8))
    assert figures.flows_per_s == pytest.approx(2000)
    assert figures.flows_per_cpu_s == pytest.approx(2000)
    assert figures.flows_per_s_interval == pytest.approx([2000, 2000])
    assert (figures.turns, figures.discarded_turns, figures.steady, figures.noisy) == (TURNS, 0, True, False)


def test_a_percentile_needs_calls_above_it() -> None:
    turns = Turns(1, [[1.0]] * 50, [1.0] * 50)
    figures = turn_figures(turns)
    assert figures.p95_us == pytest.approx(1e6)
    assert figures.p99_us is None


def test_a_slow_start_is_cut_off() -> None:
    assert steady_from([9, 8, 7, *[1.0] * 17]) == 3
    assert steady_from([1.0] * 20) == 0


def test_a_contender_that_only_gets_slower_has_no_steady_state() -> None:
    figures = turn_figures(Turns(1, [[float(i)] for i in range(1, 21)], [1.0] * 20))
    assert figures.steady is False
    assert figures.noisy is True


def test_all_get_the_same_batches_and_take_turns(clock: Any) -> None:
    seen: list[tuple[str, int]] = []

    def call(name: str):
        def run(number: int) -> None:
            seen.append((name, number))
            clock.now += 1

        return run

    take_turns({"a": call("a"), "b": call("b")}, 1, seconds=20, clock=clock, cpu_clock=clock)
    counted = seen[4:]
    assert "".join(name for name, _ in counted[:8]) == "abbaabba"
    assert [number for name, number in counted if name == "a"] == [n for name, n in counted if name == "b"]
    assert next(number for _, number in counted) == 0


def test_a_slow_contender_gets_fewer_turns_and_is_paired_with_as_many(clock: Any) -> None:

    def call(seconds: float):
        def run(number: int) -> None:
            clock.now += seconds

        return run

    turns = take_turns({"fast": call(0.1), "slow": call(50.0)}, 1, seconds=2, clock=clock, cpu_clock=clock)
    assert (len(turns["fast"].calls), len(turns["slow"].calls)) == (TURNS, 5)
    assert speed_up(turns["fast"], turns["slow"])[0] == pytest.approx(500)
    assert turn_figures(turns["slow"], turns["fast"]).speed_up == pytest.approx(1 / 500)


def test_one_that_fails_in_mid_run_keeps_its_turns_and_stops_nobody(clock: Any) -> None:
    calls = itertools.count()

    def breaks(number: int) -> None:
        clock.now += 1
        if next(calls) == 10:
            raise RuntimeError("out of\nmemory")

    def works(number: int) -> None:
        clock.now += 1

    turns = take_turns({"breaks": breaks, "works": works}, 1, seconds=20, clock=clock, cpu_clock=clock)
    assert (len(turns["breaks"].calls), len(turns["works"].calls)) == (8, TURNS)
    assert turns["breaks"].error == "out of"
    assert turn_figures(turns["breaks"]).turns == 8
    assert turns["works"].error == ""


def test_one_that_never_works_is_an_error_alone(clock: Any) -> None:
    def breaks(number: int) -> None:
        raise ValueError

    turns = take_turns({"breaks": breaks}, 1, seconds=1, clock=clock)
    assert turns["breaks"].error == "ValueError"
    assert turn_figures(turns["breaks"]) is None


def test_the_interval_of_the_median_narrows_with_turns_and_the_usual_range_does_not() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(100, 5, 10).tolist(), rng.normal(100, 5, 1000).tolist()
    width = [high - low for low, high in (median_interval(few), median_interval(many))]
    assert width[1] < width[0] / 3
    low, high = usual_range(many)
    assert 10 < high - low < 15
