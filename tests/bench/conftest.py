"""A clock that stands still, engines that move it by known times, and benches of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etcc_edge.bench.contenders.backends import BACKEND, Contender
from etcc_edge.bench.figures import Report
from etcc_edge.bench.prepare import BenchPlan, Effort
from etcc_edge.bench.run import Bench
from etcc_edge.bundle import Bundle, save_bundle
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import Choice
from etcc_edge.engines.engine import OpenEngine
from etcc_edge.engines.native import open_engine
from etcc_edge.engines.result import Result
from etcc_edge.flows.generated import sample_rows
from making import FakeClock

EFFORT = Effort(
    seconds=0.5,
    batches=(1, 8),
    offline_flows=512,
    drift_flows=400,
    process_flows=100,
    process_turns=2,
    stage_turns=1,
    server_seconds=0.05,
)


class FakeEngine:
    """The bundle's own labels, in ``seconds(flows)`` of a fake clock; its call number ``fails_at`` raises ``error``."""

    def __init__(
        self,
        bundle: Bundle,
        clock: FakeClock,
        seconds: Callable[[int], float],
        fails_at: int = -1,
        error: BaseException | None = None,
    ) -> None:
        self._cascade = open_cascade(bundle, Choice("native", "fp32", ""))
        self._clock, self._seconds, self._fails_at, self._error = clock, seconds, fails_at, error
        self.calls = 0

    def run(self, raw: np.ndarray) -> Result:
        self.calls += 1
        if self.calls == self._fails_at:
            raise self._error or RuntimeError("the fake engine broke\nin the middle")
        self._clock.now += self._seconds(len(raw))
        return self._cascade.run(raw)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fake(tiny_bundle: Bundle, clock: FakeClock) -> Callable[..., Contender]:
    """A backend of that name and precision that runs a FakeEngine, with the native networks or others to open."""

    def make(
        name: str,
        seconds: Callable[[int], float],
        precision: str = "fp32",
        opener: OpenEngine | None = None,
        **how: Any,
    ) -> Contender:
        engine = FakeEngine(tiny_bundle, clock, seconds, **how)
        opener = opener or (lambda node: open_engine(tiny_bundle, node, "fp32"))
        return Contender(name, precision, BACKEND, lambda *_: engine, "fake", "", ({"block": 64},), 1000, opener)

    return make


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    """A file of 50 generated flows."""
    path = tmp_path / "flows.csv"
    path.write_text("".join(sample_rows(50, 1)))
    return path


@pytest.fixture
def plan_bench(tiny_bundle: Bundle, tmp_path: Path, clock: FakeClock) -> Callable[..., Bench]:
    """A bench of these contenders on labelled generated flows as if they were a user's, or else on generated ones."""
    save_bundle(tiny_bundle, tmp_path / "tiny")
    (tmp_path / "users.csv").write_text("".join(sample_rows(600, 1)))

    def plan(*contenders: Contender, flows: bool = True, effort: Effort = EFFORT) -> Bench:
        return Bench(
            BenchPlan(
                str(tmp_path / "tiny"),
                str(tmp_path / "users.csv") if flows else None,
                effort,
                contenders=contenders or None,
                clock=clock,
                cpu_clock=clock,
                wait=clock.wait,
            )
        )

    return plan


@pytest.fixture
def bench(plan_bench: Callable[..., Bench]) -> Callable[..., Report]:
    """The report of such a bench."""
    return lambda *contenders, **how: plan_bench(*contenders, **how).run()


@pytest.fixture
def linear() -> Callable[[float, float], Callable[[int], float]]:
    """Seconds of a call with so many flows, from those of a call and of a flow."""
    return lambda a_call, a_flow: lambda flows: a_call + a_flow * flows
