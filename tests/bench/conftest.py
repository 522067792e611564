"""A clock that stands still, and engines that move it by known times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from etcc_edge.bench.contenders.backends import BACKEND, Contender
from etcc_edge.bundle import Bundle
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import Choice
from etcc_edge.engines.engine import OpenEngine
from etcc_edge.engines.native import open_engine
from etcc_edge.engines.result import Result


class FakeClock:
    """Stands still but for those who move it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, until: float) -> None:
        """What a server does until the next flow arrives."""
        self.now = until + 1e-6  # beyond what rounding takes away


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
