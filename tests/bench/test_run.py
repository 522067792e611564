"""A whole bench over fake engines under a fake clock: what it measures, and what it survives."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etcc_edge.bench import prepare, processes
from etcc_edge.bench.contenders.backends import Contender
from etcc_edge.bench.figures import Peak, Recommended, Report
from etcc_edge.bench.machine import roofline
from etcc_edge.bench.report.plain import plain
from etcc_edge.bench.report.tables import cautions, recommended
from etcc_edge.bench.timing.paired import ProcessRun
from etcc_edge.bundle import Bundle, Node
from etcc_edge.engines.measured import read
from etcc_edge.engines.native import open_engine
from etcc_edge.errors import EtccError

SHIPPED = Path(__file__).parents[2] / "bench" / "results" / "default.json"

Fake = Callable[..., Contender]


def rows(report: Report, name: str, scenario: str) -> list[Any]:
    """The measurements of that contender, with their figures' attributes."""
    return [row for row in report.measurements if row.contender == name and row.scenario == scenario]


def test_known_latencies_are_found_in_every_scenario(bench: Any, fake: Fake, linear: Any) -> None:
    report = bench(fake("onnxruntime", linear(1e-3, 1e-4)), fake("native", linear(1e-3, 1e-5)))
    assert report.complete
    (single,), (multi,) = rows(report, "native", "single stream"), rows(report, "native", "multi stream")
    figures = single.figures
    assert [figures.p50_us, figures.p90_us, figures.p95_us, figures.p99_us] == pytest.approx([1010] * 4)
    assert multi.figures.p99_us == pytest.approx(1080)
    offline = rows(report, "native", "offline")
    assert offline
    for row in offline:
        assert row.figures.flows_per_s == pytest.approx(512 / (1e-3 + 512e-5))
        assert row.figures.speed_up == pytest.approx((1e-3 + 512e-4) / (1e-3 + 512e-5))
    (server,) = rows(report, "native", "server")
    assert server.figures.p99_us <= 10_000
    assert 0.5 < server.figures.flows_per_s / offline[0].figures.flows_per_s < 1


def test_the_fastest_that_passes_is_recommended_with_its_reason(bench: Any, fake: Fake, linear: Any) -> None:
    report = bench(fake("native", linear(0, 1e-3)), fake("onnxruntime", linear(0, 1e-4)))
    assert report.recommendation == Recommended(
        backend="onnxruntime", precision="fp32", backends={"fp32": "onnxruntime"}, refused={}
    )
    assert "10,000 flows/s" in recommended(report)[0]


class Backwards:
    """A network whose every answer is another."""

    def __init__(self, bundle: Bundle, node: Node) -> None:
        self._engine = open_engine(bundle, node, "fp32")

    def run(self, scaled: np.ndarray) -> np.ndarray:
        return -self._engine.run(scaled)


def test_a_planted_drift_is_found_and_kept_out(bench: Any, fake: Fake, linear: Any, tiny_bundle: Bundle) -> None:
    quick_but_wrong = fake("onnxruntime", linear(0, 2e-4), "int8", opener=lambda node: Backwards(tiny_bundle, node))
    report = bench(fake("onnxruntime", linear(0, 1e-3)), quick_but_wrong)
    drift = report.contenders["onnxruntime int8"].drift
    assert drift.source == "measured"
    assert drift.agreement < 0.5
    assert "points from fp32's" in drift.verdict
    assert drift.networks["stage1"].largest_logit_change > 0
    assert sum(move.flows for move in drift.moves) > 100
    assert report.recommendation.precision == "fp32"
    assert list(report.recommendation.refused) == ["onnxruntime int8"]
    assert any("kept out: onnxruntime int8" in line for line in recommended(report))
    same = report.contenders["onnxruntime fp32"].drift
    assert (same.agreement, same.change_points, same.moves, same.verdict) == (1, 0, [], "")


def test_without_the_users_flows_no_drift_is_measured(bench: Any, fake: Fake, linear: Any) -> None:
    report = bench(fake("onnxruntime", linear(0, 1e-4)), flows=False)
    assert report.contenders["onnxruntime fp32"].drift is None
    assert report.flows.source == "generated"
    assert any("generated flows" in line for line in cautions(report))


def test_an_engine_that_fails_in_mid_run_is_a_row_with_the_error(bench: Any, fake: Fake, linear: Any) -> None:
    report = bench(fake("onnxruntime", linear(0, 1e-3)), fake("native", linear(0, 1e-3), fails_at=60))
    assert report.complete
    errors = [(row.contender, row.error) for row in report.measurements if row.error]
    assert errors == [("native", "the fake engine broke")]
    assert report.contenders["native fp32"].status == "failed"
    assert report.recommendation.backend == "onnxruntime"
    assert rows(report, "onnxruntime", "offline")[0].figures.flows_per_s == pytest.approx(1000)


def test_an_engine_that_cannot_be_opened_is_a_reason(bench: Any, fake: Fake, linear: Any) -> None:
    def refuses(*_: Any) -> Any:
        raise EtccError("no room on the device")

    report = bench(fake("onnxruntime", linear(0, 1e-3)), replace(fake("native", linear(0, 1e-3)), open=refuses))
    assert report.contenders["native fp32"].reason == "no room on the device"
    assert not [row for row in report.measurements if row.contender == "native"]


def test_an_interrupt_keeps_what_was_measured(plan_bench: Any, fake: Fake, linear: Any) -> None:
    bench = plan_bench(fake("onnxruntime", linear(0, 1e-3), fails_at=600, error=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    report = bench.report
    assert report.complete is False
    assert rows(report, "onnxruntime", "single stream")
    assert report.noise is not None
    assert "interrupted" in cautions(report)[0]
    assert recommended(report) == ["no recommendation: the bench was not finished"]


def test_flows_that_cannot_be_used_leave_no_report(plan_bench: Any, fake: Fake, linear: Any, tmp_path: Path) -> None:
    bench = plan_bench(fake("native", linear(0, 1e-3)))
    (tmp_path / "users.csv").write_text("a,b\n1,2\n")
    with pytest.raises(EtccError):
        bench.run()
    assert bench.report is None


# --- the whole, without stand-ins for the contenders of this machine -----------------------------------------------


@pytest.fixture
def quick_report(
    plan_bench: Any, fake: Fake, linear: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[Report, list[list[str]]]:
    """A quick bench on a machine that has two backends, and the commands that it ran as processes."""
    commands: list[list[str]] = []

    def run_process(command: list[str]) -> ProcessRun:
        commands.append(command)
        return ProcessRun(0.5, 0.25, 1000)

    contenders = [fake("native", linear(0, 1e-5)), fake("onnxruntime", linear(0, 1e-4))]
    monkeypatch.setattr(prepare, "backends", lambda bundle: contenders)
    monkeypatch.setattr(prepare, "baselines", lambda bundle, trees, compiled: [])
    monkeypatch.setattr(processes, "run_process", run_process)
    peak = Peak(threads=1, instruction_set="fake", multiply_adds_per_s=1e9, bytes_per_s=1e9)
    monkeypatch.setattr(roofline, "peaks", lambda threads: peak)
    bench = plan_bench()
    bench.plan = replace(bench.plan, effort=replace(bench.plan.effort, left_out=("most",)))
    return bench.run(), commands


BY_NAME = {"backends", "chosen", "contenders", "libraries", "networks", "protocol_mix", "start_up_seconds"}


def keys_of(value: Any, place: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """The places of all keys; names of contenders, labels and the like are a star."""
    if not isinstance(value, dict):
        return set()
    by_name = "recall_change_points" in place or bool(BY_NAME & {*place[-1:]})
    places = [((*place, "*" if by_name else name), part) for name, part in value.items()]
    return {key for key, part in places for key in ({key} | keys_of(part, key))}


def of_backends(report: dict[str, Any]) -> dict[str, Any]:
    """What a report says of native and ONNX Runtime at fp32, its measurements by scenario."""
    names = ("native fp32", "onnxruntime fp32")
    measured = [row for row in report["measurements"] if f"{row['contender']} {row['precision']}" in names]
    return {
        **report,
        "contenders": {name: report["contenders"][name] for name in names},
        "measurements": {row["scenario"]: row for row in measured if "speed_up" in row or row["scenario"] == "server"},
    }


def test_the_json_has_the_keys_of_the_shipped_report(quick_report: tuple[Report, list[list[str]]]) -> None:
    report, _ = quick_report
    fresh = of_backends(json.loads(json.dumps(plain(report))))
    shipped = of_backends(json.loads(SHIPPED.read_text()))
    del shipped["measurements"]["batch"]  # of sizes that this bench leaves out
    assert keys_of(fresh) == keys_of(shipped)
    assert ("measurements", "process", "peak_bytes") in keys_of(fresh)


def test_whole_processes_run_by_every_backend_and_are_compared_with_the_reference(
    quick_report: tuple[Report, list[list[str]]],
) -> None:
    report, commands = quick_report
    (native,) = rows(report, "native", "process")
    assert native.figures.flows_per_s == pytest.approx(200)
    assert native.figures.speed_up == 1
    assert report.flows.in_a_process == 100
    assert report.start_up_seconds == {"python": 0.5, "import": 0.5, "native fp32": 0.5, "onnxruntime fp32": 0.5}
    assert sum("onnxruntime" in command for command in commands) == 2 + 2


def test_a_recommendation_is_kept_for_auto(quick_report: tuple[Report, list[list[str]]], tiny_bundle: Bundle) -> None:
    report, _ = quick_report
    kept, _ = read(tiny_bundle)
    assert kept is not None
    assert kept.backends == {"fp32": "native"}
    assert kept.made == report.made[:10]


def test_progress_names_every_step_and_ends_near_its_total(plan_bench: Any, fake: Fake, linear: Any) -> None:
    steps: list[tuple[str, float, float]] = []
    plan_bench(fake("onnxruntime", linear(0, 1e-3))).run(lambda *step: steps.append(step))
    names = [name for name, _, _ in steps]
    assert names[0] == "reading flows"
    assert "onnxruntime fp32 as a server" in names
    assert "stages of onnxruntime fp32" in names
    done = [seconds for _, seconds, _ in steps]
    assert done == sorted(done)
    assert all(seconds <= total for _, seconds, total in steps)
