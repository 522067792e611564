"""The command: its table, its files, its exit status, its one-line complaints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner, Result

from etcc_edge.bench.figures import (
    BundleUsed,
    FlowsUsed,
    Measurement,
    Noise,
    Recommended,
    Report,
    Settings,
    TurnFigures,
)
from etcc_edge.bench.machine.environment import environment
from etcc_edge.bench.prepare import QUICK, BenchPlan
from etcc_edge.bench.report.files import read, write
from etcc_edge.cli import bench, main
from making import contender_figures


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["bench", *words])


def measured(seconds: float = 1.0) -> Report:
    """A small report: one contender that labels 1000 flows in so many seconds."""
    rate = 1000 / seconds
    figures = TurnFigures(
        calls=20,
        turns=20,
        discarded_turns=0,
        p50_us=1e6 * seconds,
        p90_us=1e6 * seconds,
        p95_us=1e6 * seconds,
        p99_us=None,
        max_us=1e6 * seconds,
        flows_per_s=rate,
        flows_per_s_interval=(rate, rate),
        flows_per_s_range=(0.99 * rate, 1.01 * rate),
        flows_per_cpu_s=rate,
        flows_per_cpu_s_range=(0.99 * rate, 1.01 * rate),
        spread=0.0,
        steady=True,
        noisy=False,
    )
    return Report(
        schema=1,
        complete=True,
        made="2026-11-23T00:00:00+00:00",
        command="etcc-edge bench",
        left_out=[],
        settings=Settings(seed=0, seconds_a_cell=1.0, server_bound_ms=10.0, max_drift_points=0.5),
        environment=replace(environment(), cpu="fake"),
        bundle=BundleUsed(name="tiny", hash="0" * 64, features=6),
        flows=FlowsUsed(
            source="generated",
            file=None,
            dialect="cicdarknet2020",
            flows=1000,
            unseen=0,
            labelled=False,
            trees_fitted_on=None,
        ),
        contenders={"native fp32": contender_figures("native fp32", model_bytes=1)},
        measurements=[
            Measurement(
                contender="native",
                precision="fp32",
                kind="backend",
                scenario="offline",
                threads=1,
                batch=1000,
                figures=figures,
            )
        ],
        recommendation=Recommended(backend="native", precision="fp32", backends={"fp32": "native"}, refused={}),
        noise=Noise(noisy=False, noisy_rows=0, rows=1, others_cpu_share=0.0),
    )


class FakeBench:
    """A bench that takes no time; the plans that it got."""

    plans: ClassVar[list[BenchPlan]] = []
    ends_with: ClassVar[Report]
    error: ClassVar[BaseException | None] = None

    def __init__(self, plan: BenchPlan) -> None:
        self.plans.append(plan)
        self.report: Report | None = None

    def run(self, progress: Any) -> Report:
        self.report = self.ends_with
        if self.error:
            raise self.error
        return self.report


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> type[FakeBench]:
    """Takes the bench's place, and ends with `measured`."""

    class Fake(FakeBench):
        plans: ClassVar[list[BenchPlan]] = []
        ends_with = measured()

    monkeypatch.setattr(bench, "Bench", Fake)
    return Fake


def test_a_person_gets_a_table_and_a_recommendation(faked: type[FakeBench]) -> None:
    done = run("--quick", "--flows", "flows.csv", "--latency-bound", "5")
    assert done.exit_code == 0, done.output
    assert "native" in done.stdout
    assert "recommended: --backend native --precision fp32: 1,000 flows/s on 1 thread" in done.stdout
    assert "Speeds are of generated flows" in done.stderr
    (plan,) = faked.plans
    assert (plan.flows, plan.effort, plan.bound_seconds) == ("flows.csv", QUICK, 0.005)


@pytest.mark.usefixtures("faked")
def test_json_and_reports_hold_the_report(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"out{suffix}") for suffix in (".json", ".csv", ".md", ".html")]
    done = run("--json", *(word for path in paths for word in ("--report", path)))
    assert json.loads(done.stdout) == json.loads(Path(paths[0]).read_text())
    assert read(paths[0]) == measured()
    assert all("1,000" in Path(path).read_text() for path in paths[2:])
    assert "1000.0" in Path(paths[1]).read_text()


def test_an_interrupt_writes_what_was_measured_and_exits_130(faked: type[FakeBench], tmp_path: Path) -> None:
    faked.ends_with = replace(measured(), complete=False, recommendation=None)
    faked.error = KeyboardInterrupt()
    done = run("--report", str(tmp_path / "part.json"), "--report", str(tmp_path / "part.html"))
    assert done.exit_code == 130
    assert "interrupted" in done.stderr
    assert json.loads((tmp_path / "part.json").read_text())["complete"] is False
    assert "was interrupted" in (tmp_path / "part.html").read_text()


def test_an_interrupt_before_the_first_figure_writes_nothing(faked: type[FakeBench], tmp_path: Path) -> None:
    faked.ends_with = replace(measured(), measurements=[])
    faked.error = KeyboardInterrupt()
    assert run("--report", str(tmp_path / "part.json")).exit_code == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("seconds", "status"), [(1.0, 0), (1.04, 0), (1.2, 3), (0.5, 0)])
def test_compare_exits_3_past_the_regression_allowed(tmp_path: Path, seconds: float, status: int) -> None:
    for name, report in (("old", measured()), ("new", measured(seconds))):
        write(tmp_path / f"{name}.json", report)
    done = run("--compare", str(tmp_path / "old.json"), str(tmp_path / "new.json"))
    assert done.exit_code == status, done.output
    assert ("regressed" in done.stdout) == (status == 3)
    more = run("--compare", str(tmp_path / "old.json"), str(tmp_path / "new.json"), "--max-regression", "30")
    assert more.exit_code == 0


def test_compare_says_what_compares_badly(tmp_path: Path) -> None:
    other = measured()
    other.environment.cpu = "another"
    other.noise = Noise(noisy=True, noisy_rows=1, rows=1, others_cpu_share=0.0)
    write(tmp_path / "old.json", measured())
    write(tmp_path / "new.json", other)
    done = run("--compare", str(tmp_path / "old.json"), str(tmp_path / "new.json"))
    assert "cpu differs: fake and another" in done.stderr
    assert "noisy during the new bench" in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["--report", "out.txt"], 2, "name a file that ends in .json, .csv, .md, .html"),
        (["--report", "no/such/folder/a.md"], 2, "there is no folder no/such/folder"),
        (["--compare", "none.json", "none.json"], 1, "none.json: cannot be read"),
        (["--bundle", "none"], 2, "no bundle 'none'"),
        (["--flows", "none.csv"], 1, "none.csv"),
        (["--quick", "--bundle", "iscx-tor-vpn-15s"], 1, "name flows of its meter with --flows"),
    ],
)
def test_what_cannot_be_measured_is_one_line(words: list[str], status: int, complaint: str) -> None:
    failed = run(*words)
    assert failed.exit_code == status
    assert complaint in failed.stderr.splitlines()[-1]
