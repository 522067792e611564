"""A whole bench over fake engines under a fake clock: what it finds, and what it survives."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etcc_edge.bench.contenders.backends import Contender
from etcc_edge.bench.prepare import Effort, Plan
from etcc_edge.bench.report.compare import compare
from etcc_edge.bench.report.files import FORMATS, as_csv, read, write
from etcc_edge.bench.report.tables import cautions, rate, recommended, summary
from etcc_edge.bench.run import run
from etcc_edge.bundle import Bundle, Node, save_bundle
from etcc_edge.engines.native import open_engine
from etcc_edge.errors import EtccError
from etcc_edge.flows.generated import sample_rows

EFFORT = Effort(0.5, (1, 8), 512, 400, 100, 2, 1, 0.05)

Fake = Callable[..., Contender]


@pytest.fixture
def bench(tiny_bundle: Bundle, tmp_path: Path, clock: Any) -> Callable[..., dict[str, Any]]:
    """Runs a bench of these contenders on labelled generated flows, as if they were a user's."""
    save_bundle(tiny_bundle, tmp_path / "tiny")
    (tmp_path / "flows.csv").write_text("".join(sample_rows(600, 1)))

    def run_it(*contenders: Contender, flows: bool = True) -> dict[str, Any]:
        report: dict[str, Any] = {}
        path = str(tmp_path / "flows.csv") if flows else None
        plan = Plan(str(tmp_path / "tiny"), path, EFFORT, contenders=contenders)
        plan = replace(plan, clock=clock, cpu_clock=clock, wait=clock.wait)
        try:
            run(plan, report)
        except KeyboardInterrupt:
            report["interrupted"] = True
        return report

    return run_it


def rows(report: dict[str, Any], name: str, scenario: str) -> list[dict[str, Any]]:
    return [row for row in report["measurements"] if row["contender"] == name and row["scenario"] == scenario]


def linear(a_call: float, a_flow: float) -> Callable[[int], float]:
    return lambda flows: a_call + a_flow * flows


def test_known_latencies_are_found_in_every_scenario(bench: Any, fake: Fake) -> None:
    made = bench(fake("onnxruntime", linear(1e-3, 1e-4)), fake("native", linear(1e-3, 1e-5)))
    assert made["complete"]
    (single,), (multi,) = rows(made, "native", "single stream"), rows(made, "native", "multi stream")
    assert [single[f"p{p}_us"] for p in (50, 90, 95, 99)] == pytest.approx([1010] * 4)
    assert multi["p99_us"] == pytest.approx(1080)
    for row in rows(made, "native", "offline"):
        assert row["flows_per_s"] == pytest.approx(512 / (1e-3 + 512e-5))
        assert row["speed_up"] == pytest.approx((1e-3 + 512e-4) / (1e-3 + 512e-5))
    (server,) = rows(made, "native", "server")
    assert server["p99_us"] <= 10_000
    assert 0.5 < server["flows_per_s"] / rows(made, "native", "offline")[0]["flows_per_s"] < 1


def test_the_fastest_that_passes_is_recommended_with_its_reason(bench: Any, fake: Fake) -> None:
    made = bench(fake("native", linear(0, 1e-3)), fake("onnxruntime", linear(0, 1e-4)))
    assert made["recommendation"] == {
        "backend": "onnxruntime",
        "precision": "fp32",
        "backends": {"fp32": "onnxruntime"},
        "refused": {},
    }
    assert "10,000 flows/s" in recommended(made)[0]


class Backwards:
    """A network whose every answer is another."""

    def __init__(self, bundle: Bundle, node: Node) -> None:
        self._engine = open_engine(bundle, node, "fp32")

    def run(self, scaled: np.ndarray) -> np.ndarray:
        return -self._engine.run(scaled)


def test_a_planted_drift_is_found_and_kept_out(bench: Any, fake: Fake, tiny_bundle: Bundle) -> None:
    quick_but_wrong = fake("onnxruntime", linear(0, 2e-4), "int8", opener=lambda node: Backwards(tiny_bundle, node))
    made = bench(fake("onnxruntime", linear(0, 1e-3)), quick_but_wrong)
    drift = made["contenders"]["onnxruntime int8"]["drift"]
    assert drift["source"] == "measured"
    assert drift["agreement"] < 0.5
    assert "points from fp32's" in drift["verdict"]
    assert drift["networks"]["stage1"]["largest_logit_change"] > 0
    assert sum(move["flows"] for move in drift["moves"]) > 100
    assert made["recommendation"]["precision"] == "fp32"
    assert list(made["recommendation"]["refused"]) == ["onnxruntime int8"]
    assert any("kept out: onnxruntime int8" in line for line in recommended(made))
    same = made["contenders"]["onnxruntime fp32"]["drift"]
    assert (same["agreement"], same["change_points"], same["moves"], same["verdict"]) == (1, 0, [], "")


def test_without_the_users_flows_no_drift_is_measured(bench: Any, fake: Fake) -> None:
    made = bench(fake("onnxruntime", linear(0, 1e-4)), flows=False)
    assert made["contenders"]["onnxruntime fp32"]["drift"] is None
    assert made["flows"]["source"] == "generated"
    assert any("generated flows" in line for line in cautions(made))


def test_an_engine_that_fails_in_mid_run_is_a_row_with_the_error(bench: Any, fake: Fake) -> None:
    made = bench(fake("onnxruntime", linear(0, 1e-3)), fake("native", linear(0, 1e-3), fails_at=60))
    assert made["complete"]
    errors = [row for row in made["measurements"] if "error" in row]
    assert [(row["contender"], row["error"]) for row in errors] == [("native", "the fake engine broke")]
    assert made["contenders"]["native fp32"]["status"] == "failed"
    assert made["recommendation"]["backend"] == "onnxruntime"
    assert rows(made, "onnxruntime", "offline")[0]["flows_per_s"] == pytest.approx(1000)


def test_an_engine_that_cannot_be_opened_is_a_reason(bench: Any, fake: Fake) -> None:
    def refuses(*_: Any) -> Any:
        raise EtccError("no room on the device")

    made = bench(fake("onnxruntime", linear(0, 1e-3)), replace(fake("native", linear(0, 1e-3)), open=refuses))
    assert made["contenders"]["native fp32"]["reason"] == "no room on the device"
    assert not [row for row in made["measurements"] if row["contender"] == "native"]


def test_an_interrupt_keeps_what_was_measured(bench: Any, fake: Fake, tmp_path: Path) -> None:
    made = bench(fake("onnxruntime", linear(0, 1e-3), fails_at=600, error=KeyboardInterrupt()))
    assert made.pop("interrupted")
    assert made["complete"] is False
    assert rows(made, "onnxruntime", "single stream")
    assert "interrupted" in cautions(made)[0]
    assert recommended(made) == ["no recommendation: the bench was not finished"]
    for suffix in FORMATS:
        write(tmp_path / f"part{suffix}", made)
    assert read(tmp_path / "part.json") == made


def test_a_planted_slow_down_is_found_and_nothing_else(bench: Any, fake: Fake) -> None:
    before = bench(fake("onnxruntime", linear(0, 1e-3)), fake("native", linear(0, 1e-4)))
    after = bench(fake("onnxruntime", linear(0, 1e-3)), fake("native", linear(0, 2e-4)))
    lost = {change.what for change in compare(before, after, 5) if change.regressed}
    assert lost
    assert all(what.startswith("native fp32") for what in lost)
    assert not [change for change in compare(before, before, 0) if change.regressed]
    assert not [change for change in compare(after, before, 0) if change.regressed]


def test_a_lost_accuracy_is_found(bench: Any, fake: Fake) -> None:
    before = bench(fake("onnxruntime", linear(0, 1e-3)))
    after = json.loads(json.dumps(before))
    after["contenders"]["onnxruntime fp32"]["drift"]["accuracy"] -= 0.006
    (lost,) = [change for change in compare(before, after, 5) if change.regressed]
    assert (lost.what, lost.change) == ("onnxruntime fp32 accuracy", pytest.approx(-0.6))


def test_every_format_holds_the_same_figures(bench: Any, fake: Fake, tmp_path: Path) -> None:
    made = bench(fake("onnxruntime", linear(1e-3, 3e-4)), fake("native", linear(1e-3, 7e-5)))
    for suffix in FORMATS:
        write(tmp_path / f"report{suffix}", made)
    assert read(tmp_path / "report.json") == made
    table = list(csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text())))
    assert [float(row["flows_per_s"]) for row in table] == [row["flows_per_s"] for row in made["measurements"]]
    assert [float(row["p99_us"]) for row in table if row["p99_us"]] == [
        row["p99_us"] for row in made["measurements"] if row["p99_us"] is not None
    ]
    texts = [unescape((tmp_path / f"report{suffix}").read_text()).replace("\u2060", "") for suffix in (".md", ".html")]
    for text in texts:
        for row in made["measurements"]:
            assert rate(row["flows_per_s"]) in text
        for line in summary(made).rows:
            assert all(cell in text for cell in line)
    assert as_csv(made).count("\n") == len(made["measurements"]) + 1


def test_the_page_has_its_plots_and_loads_nothing(bench: Any, fake: Fake, tmp_path: Path) -> None:
    made = bench(fake("onnxruntime", linear(1e-3, 3e-4)), fake("native", linear(1e-3, 7e-5)))
    page = FORMATS[".html"](made)
    for title in ("Accuracy against latency", "Throughput, 1 thread", "Latency, 1 thread", "Share of each stage"):
        assert f'aria-label="{title}' in page
    assert not re.search(r"<script|src=|href=|nan", page)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON report of etcc-edge bench"),
        ("[]", "is no JSON report of etcc-edge bench"),
        ('{"schema": 9, "measurements": []}', "has schema 9"),
    ],
)
def test_another_file_is_no_report(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(EtccError, match=said):
        read(tmp_path / "other.json")
