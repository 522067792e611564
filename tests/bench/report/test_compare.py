"""What two reports tell of each other."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from etcc_edge.bench.contenders.backends import Contender
from etcc_edge.bench.figures import Noise
from etcc_edge.bench.report.compare import LEAST_IN_NOISE, changes, differences

Fake = Callable[..., Contender]

NOISY = Noise(others_cpu_share=0.5, noisy_rows=1, rows=1, noisy=True)


def test_a_planted_slow_down_is_found_and_nothing_else(bench: Any, fake: Fake, linear: Any) -> None:
    before = bench(fake("onnxruntime", linear(0, 1e-3)), fake("native", linear(0, 1e-4)))
    after = bench(fake("onnxruntime", linear(0, 1e-3)), fake("native", linear(0, 2e-4)))
    names = {change.name for change in changes(before, after, 5) if change.regressed}
    assert names
    assert all(name.startswith("native fp32") for name in names)
    assert not [change for change in changes(before, before, 0) if change.regressed]
    assert not [change for change in changes(after, before, 0) if change.regressed]


def test_a_lost_accuracy_is_found(bench: Any, fake: Fake, linear: Any) -> None:
    before = bench(fake("onnxruntime", linear(0, 1e-3)))
    after = deepcopy(before)
    after.contenders["onnxruntime fp32"].drift.accuracy -= 0.006
    (change,) = [change for change in changes(before, after, 5) if change.regressed]
    assert (change.name, change.change) == ("onnxruntime fp32 accuracy", pytest.approx(-0.6))


def test_of_a_noisy_machine_processor_time_is_compared_and_small_falls_are_noise(
    bench: Any, fake: Fake, linear: Any
) -> None:
    before = bench(fake("onnxruntime", linear(0, 1e-3)))
    after = deepcopy(before)
    after.noise = NOISY
    for row in after.measurements:
        row.figures.flows_per_s /= 10
        if row.scenario != "server":
            row.figures.flows_per_cpu_s *= 0.7
            row.figures.flows_per_cpu_s_range = tuple(0.7 * limit for limit in row.figures.flows_per_cpu_s_range)
    falls = [change for change in changes(before, after, 5) if "accuracy" not in change.name]
    assert falls
    assert [change.change for change in falls] == pytest.approx([-30] * len(falls))
    assert not any(change.regressed for change in falls)
    assert LEAST_IN_NOISE > 30
    assert any("noisy during the new bench" in line for line in differences(before, after))


def test_what_compares_badly_is_a_line_each(bench: Any, fake: Fake, linear: Any) -> None:
    old = bench(fake("onnxruntime", linear(0, 1e-3)))
    old.noise = None
    assert differences(old, old) == []
    new = deepcopy(old)
    new.environment.cpu, new.bundle.hash, new.flows.file, new.complete = "another", "0", "other.csv", False
    new.measurements = [row for row in new.measurements if row.scenario != "single stream"]
    lines = differences(old, new)
    assert lines[0] == f"cpu differs: {old.environment.cpu} and another"
    assert lines[1:] == [
        "the bundles differ: tiny and tiny",
        "the flows differ",
        "the new bench was interrupted",
        "only the old bench has: onnxruntime fp32 single stream of 1 on 1",
    ]
