"""Where the time of labelling a file goes, under a fake clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etcc_edge.bench.stages import STAGES, Stopwatch, fused_seconds, stage_figures, stage_seconds
from etcc_edge.bundle import Bundle
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import Choice
from etcc_edge.engines.native import open_engine
from etcc_edge.flows.text.reader import FlowFile


class SlowEngine:
    """Takes 1 s of a fake clock in the first network, 10 s in the others."""

    def __init__(self, bundle: Bundle, node: Any, clock: Any) -> None:
        self._engine, self._clock = open_engine(bundle, node, "fp32"), clock
        self._seconds = 1.0 if node.id == "stage1" else 10.0

    def run(self, scaled: np.ndarray) -> np.ndarray:
        self._clock.now += self._seconds
        return self._engine.run(scaled)


def test_each_stage_is_given_its_own_time(flows: Path, tiny_bundle: Bundle, clock: Any) -> None:
    with FlowFile(flows) as file:
        (batch,) = file.batches(tiny_bundle.features)
    result = open_cascade(tiny_bundle, Choice("native", "fp32", "")).run(batch.features)
    second_stages = set(result.labels("protocol").tolist()) & tiny_bundle.root.children.keys()
    assert second_stages
    seconds = stage_seconds(flows, tiny_bundle, lambda n: SlowEngine(tiny_bundle, n, clock), Stopwatch(clock), 1000)
    assert list(seconds) == list(STAGES)
    assert seconds["stage 1"] == 1
    assert seconds["stage 2"] == 10 * len(second_stages)
    assert seconds["parse"] == seconds["scale"] == seconds["route"] == seconds["write"] == 0


def test_a_cascade_in_one_call_is_told_apart_by_its_first_stage_alone(
    flows: Path, tiny_bundle: Bundle, clock: Any
) -> None:
    class Slow:
        def __init__(self, bundle: Bundle) -> None:
            self.bundle = bundle

        def run(self, raw: np.ndarray) -> Any:
            clock.now += 5 if self.bundle.root.children else 2
            return open_cascade(self.bundle, Choice("native", "fp32", ""), block=64).run(raw)

    seconds = fused_seconds(flows, tiny_bundle, Slow, Stopwatch(clock))
    assert (seconds["stage 1"], seconds["stage 2"]) == (2, 3)


def test_shares_are_of_the_whole() -> None:
    figures = stage_figures(lambda: dict.fromkeys(STAGES, 2.0), flows=6, turns=3)
    assert sum(figures.share.values()) == pytest.approx(1)
    assert figures.us_a_flow["parse"] == pytest.approx(2e6 / 6)
    assert figures.flows_per_s == pytest.approx(0.5)


def test_the_first_turn_warms_up_and_the_others_give_medians() -> None:
    turns = iter([1000.0, 1.0, 2.0, 6.0])
    figures = stage_figures(lambda: dict.fromkeys(STAGES, next(turns)), flows=1, turns=3)
    assert figures.us_a_flow["write"] == pytest.approx(2e6)
