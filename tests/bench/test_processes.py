"""Files for whole processes, their turns, and their figures."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from etcc_edge.bench import processes
from etcc_edge.bench.timing.paired import ProcessRun
from etcc_edge.flows.text.reader import FlowFile


@pytest.mark.parametrize("wanted", [1, 30, 1000])
def test_a_cut_file_holds_the_first_flows(flows: Path, tmp_path: Path, wanted: int) -> None:
    processes.cut_file(str(flows), wanted, tmp_path / "cut.csv")
    assert (tmp_path / "cut.csv").read_text().splitlines() == flows.read_text().splitlines()[: wanted + 1]
    with FlowFile(tmp_path / "cut.csv") as file:
        assert sum(len(batch) for batch in file.batches(["flow_duration"])) == min(wanted, 50)


def test_a_process_that_fails_has_the_reason_and_no_figures() -> None:
    works = processes.Process("works", "fp32", "baseline", ["true"])
    fails = processes.Process("fails", "fp32", "baseline", ["false"])
    processes.run_in_turn([works, fails], 2)
    assert (len(works.runs), len(fails.runs)) == (2, 0)
    assert "failed" in fails.why_not
    assert processes.process_figures(fails, 10) is None
    figures = processes.process_figures(works, 10)
    assert figures is not None
    assert (figures.calls, works.why_not) == (2, "")


def test_figures_are_medians_of_the_runs_and_ratios_are_taken_turn_by_turn() -> None:
    ours = processes.Process("ours", "fp32", "backend", [], runs=[run(1, 2, 300), run(2, 2, 500), run(4, 8, 400)])
    theirs = processes.Process("theirs", "fp32", "baseline", [], runs=[run(8, 8, 1), run(6, 8, 1), run(8, 8, 1)])
    figures = processes.process_figures(ours, 16, theirs)
    assert figures is not None
    assert (figures.calls, figures.seconds, figures.cpu_seconds, figures.peak_bytes) == (3, 2, 2, 500)
    assert (figures.flows_per_s, figures.flows_per_cpu_s) == (8, 8)
    assert figures.speed_up == 3
    against_itself = processes.process_figures(ours, 16, ours)
    assert against_itself is not None
    assert against_itself.speed_up is None


def run(seconds: float, cpu_seconds: float, peak_bytes: int) -> ProcessRun:
    return ProcessRun(seconds, cpu_seconds, peak_bytes)


def test_starting_up_is_of_python_the_package_and_every_backend(flows: Path, fake: Any, monkeypatch: Any) -> None:
    commands: list[list[str]] = []

    def quick(command: list[str]) -> ProcessRun:
        commands.append(command)
        if "int8" in command:
            raise OSError("no memory")
        return run(len(command), 1, 1)

    monkeypatch.setattr(processes, "run_process", quick)
    contenders = [fake("native", lambda flows: 1.0), fake("native", lambda flows: 1.0, "int8")]
    seconds = processes.start_up_seconds(flows, contenders, "tiny", 2)
    assert list(seconds) == ["python", "import", "native fp32", "native int8"]
    assert (seconds["python"], seconds["native int8"]) == (3, None)
    assert all("infer" in command for command in commands if str(flows) in command)


def test_a_script_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    reasons = [script.why_not for script in processes.scripts("default", Path("flows.csv"), 1, "cicdarknet2020")]
    assert reasons == ["not measured: pip install 'etcc-edge[bench]'"] * 2


def test_a_script_reads_the_files_of_one_meter_alone() -> None:
    for script in processes.scripts("default", Path("flows.csv"), 1, "other"):
        assert script.why_not == "reads cicdarknet2020 files alone, not other"
