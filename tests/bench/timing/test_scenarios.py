"""Poisson arrivals, and the rate that a server holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from etcc_edge.bench.figures import Failure
from etcc_edge.bench.timing.paired import Spread
from etcc_edge.bench.timing.scenarios import scenario, serve, server_figures

POOL = np.zeros((16, 3), np.float32)


class FakeServer:
    """Takes ``seconds`` a call, however many flows."""

    def __init__(self, clock: Any, seconds: float) -> None:
        self.clock, self.seconds, self.served = clock, seconds, []

    def __call__(self, raw: np.ndarray) -> None:
        assert raw.shape[1] == 3
        self.served.append(len(raw))
        self.clock.now += self.seconds


def test_scenarios_have_mlperfs_names() -> None:
    assert [scenario(batch, 1000) for batch in (1, 8, 32, 1000)] == [
        "single stream",
        "multi stream",
        "batch",
        "offline",
    ]


def test_flows_that_arrive_alone_wait_for_nobody(clock: Any) -> None:
    server = FakeServer(clock, 0.001)
    latencies = serve(server, POOL, 0.01, 1e5, clock=clock, wait=clock.wait)
    assert len(latencies.values) == 1000
    assert set(server.served) == {1}
    assert latencies.percentile(99) == pytest.approx(0.001, abs=2e-6)


def test_flows_that_wait_are_taken_at_once(clock: Any) -> None:
    server = FakeServer(clock, 1.0)
    latencies = serve(server, POOL, 100, 50, clock=clock, wait=clock.wait)
    assert sum(server.served) == len(latencies.values) == 5000
    assert np.median(server.served) == pytest.approx(100, rel=0.1)
    assert latencies.median == pytest.approx(1.5, rel=0.05)
    assert 1.9 < latencies.percentile(99) < 2.1


def held_up_to(rate: float):
    return lambda run, pool, asked, seconds, seed: Spread((0.001 if asked <= rate else 0.1,) * 10)


def test_the_highest_rate_within_the_bound_is_found() -> None:
    figures = server_figures(lambda raw: None, POOL, 1000, 0.01, 1, held_up_to(300))
    low, high = figures.flows_per_s_interval
    assert low == figures.flows_per_s <= 300 < high
    assert high - low == pytest.approx(1000 / 64)
    assert figures.p99_us == pytest.approx(1000)


def test_a_server_that_holds_no_rate_says_so() -> None:
    figures = server_figures(lambda raw: None, POOL, 1000, 0.01, 1, held_up_to(0))
    assert figures == Failure(error="no rate from 16 flows/s up holds 10 ms")


def test_one_bad_moment_does_not_fail_a_rate() -> None:
    fine = held_up_to(300)

    def once(run, pool, rate, seconds, seed):
        return Spread((1.0,) * 10) if seed % 2 == 0 else fine(run, pool, rate, seconds, seed)

    assert server_figures(lambda raw: None, POOL, 1000, 0.01, 1, once).flows_per_s > 280
