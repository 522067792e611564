"""The command: its table, its files, its exit status, its one-line complaints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from etcc_edge.bench.prepare import QUICK, Plan
from etcc_edge.cli import bench, main


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["bench", *words])


def measured(seconds: float = 1.0) -> dict[str, Any]:
    """The least report: one contender that labels 1000 flows in so many seconds."""
    rate = 1000 / seconds
    row = {
        "contender": "native",
        "precision": "fp32",
        "kind": "backend",
        "scenario": "offline",
        "threads": 1,
        "batch": 1000,
        "calls": 20,
        "p50_us": 1e6 * seconds,
        "flows_per_s": rate,
        "spread": 0.0,
        "flows_per_s_interval": [rate, rate],
        "flows_per_s_range": [0.99 * rate, 1.01 * rate],
        "flows_per_cpu_s": rate,
    }
    entry = {"name": "native", "precision": "fp32", "kind": "backend", "status": "measured", "reason": ""}
    return {
        "schema": 1,
        "complete": True,
        "made": "2026-11-23T00:00:00+00:00",
        "command": "etcc-edge bench",
        "left_out": [],
        "settings": {"server_bound_ms": 10.0, "max_drift_points": 0.5},
        "environment": {"cpu": "fake", "cpus": 1, "python": "3", "commit": None, "libraries": {}},
        "bundle": {"name": "tiny", "hash": "0" * 64},
        "flows": {"source": "generated", "file": None},
        "contenders": {"native fp32": {**entry, "settings": "", "chosen": {}, "model_bytes": 1, "drift": None}},
        "measurements": [row],
        "recommendation": {
            "backend": "native",
            "precision": "fp32",
            "backends": {"fp32": "native"},
            "refused": {},
        },
        "noise": {"noisy": False, "noisy_rows": 0, "rows": 1, "others_cpu_share": 0.0},
    }


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """A bench that takes no time; the plans that it got."""
    plans: list[Plan] = []

    def fake_run(plan: Plan, report: dict[str, Any], tell: Any) -> None:
        plans.append(plan)
        report |= measured()

    monkeypatch.setattr(bench, "run", fake_run)
    return plans


def test_a_person_gets_a_table_and_a_recommendation(faked: list[Plan]) -> None:
    done = run("--quick", "--flows", "flows.csv", "--latency-bound", "5")
    assert done.exit_code == 0, done.output
    assert "native" in done.stdout
    assert "recommended: --backend native --precision fp32: 1,000 flows/s on 1 thread" in done.stdout
    assert "Speeds are of generated flows" in done.stderr
    (plan,) = faked
    assert (plan.flows, plan.effort, plan.bound) == ("flows.csv", QUICK, 0.005)


@pytest.mark.usefixtures("faked")
def test_json_and_reports_hold_the_report(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"out{suffix}") for suffix in (".json", ".csv", ".md", ".html")]
    done = run("--json", *(word for path in paths for word in ("--report", path)))
    assert json.loads(done.stdout) == measured() == json.loads(Path(paths[0]).read_text())
    assert all("1,000" in Path(path).read_text() for path in paths[2:])
    assert "1000.0" in Path(paths[1]).read_text()


def test_an_interrupt_writes_what_was_measured_and_exits_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(plan: Plan, report: dict[str, Any], tell: Any) -> None:
        report |= {**measured(), "complete": False, "recommendation": None}
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run", interrupted)
    done = run("--report", str(tmp_path / "part.json"), "--report", str(tmp_path / "part.html"))
    assert done.exit_code == 130
    assert "interrupted" in done.stderr
    assert json.loads((tmp_path / "part.json").read_text())["complete"] is False
    assert "was interrupted" in (tmp_path / "part.html").read_text()


def test_an_interrupt_before_the_first_figure_writes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(plan: Plan, report: dict[str, Any], tell: Any) -> None:
        report |= {**measured(), "measurements": []}
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run", interrupted)
    assert run("--report", str(tmp_path / "part.json")).exit_code == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("seconds", "status"), [(1.0, 0), (1.04, 0), (1.2, 3), (0.5, 0)])
def test_compare_exits_3_past_the_regression_allowed(tmp_path: Path, seconds: float, status: int) -> None:
    for name, report in (("old", measured()), ("new", measured(seconds))):
        (tmp_path / f"{name}.json").write_text(json.dumps(report))
    done = run("--compare", str(tmp_path / "old.json"), str(tmp_path / "new.json"))
    assert done.exit_code == status, done.output
    assert ("regressed" in done.stdout) == (status == 3)
    more = run("--compare", str(tmp_path / "old.json"), str(tmp_path / "new.json"), "--max-regression", "30")
    assert more.exit_code == 0


def test_compare_says_what_compares_badly(tmp_path: Path) -> None:
    other = measured()
    other["environment"] |= {"cpu": "another"}
    other["noise"]["noisy"] = True
    (tmp_path / "old.json").write_text(json.dumps(measured()))
    (tmp_path / "new.json").write_text(json.dumps(other))
    done = run("--compare", str(tmp_path / "old.json"), str(tmp_path / "new.json"))
    assert "cpu differs: fake and another" in done.stderr
    assert "noisy during the new bench" in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--report", "out.txt"], 2, "name a file that ends in .json, .csv, .md, .html"),
        (["--report", "no/such/folder/a.md"], 2, "there is no folder no/such/folder"),
        (["--compare", "none.json", "none.json"], 1, "none.json: cannot be read"),
        (["--bundle", "none"], 1, "no bundle 'none'"),
        (["--flows", "none.csv"], 1, "none.csv"),
        (["--quick", "--bundle", "iscx-tor-vpn-15s"], 1, "name flows of its meter with --flows"),
    ],
)
def test_what_cannot_be_measured_is_one_line(words: list[str], status: int, said: str) -> None:
    failed = run(*words)
    assert failed.exit_code == status
    assert said in failed.stderr.splitlines()[-1]
