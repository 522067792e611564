"""The command of the laboratory, as far as it goes without any of its programs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from etcc_edge.bench.laboratory import __main__ as command
from etcc_edge.bench.laboratory import corpus
from etcc_edge.bench.laboratory.scenario import Scenario
from etcc_edge.bench.laboratory.world import LaboratoryError, confined, why_not

REASON = why_not()


def test_list_names_the_scenarios_and_starts_nothing() -> None:
    result = CliRunner().invoke(command.main, ["--list"])
    assert result.exit_code == 0
    assert "wireguard.0." in result.output


@pytest.mark.parametrize("arguments", [[], ["--all"], ["--scenario", "unheard.of", "-o", "x"]])
def test_without_a_scenario_or_a_folder_it_says_what_to_say(arguments: list[str]) -> None:
    result = CliRunner().invoke(command.main, arguments)
    assert result.exit_code == 2
    assert "--list" in result.output


def test_without_the_capability_it_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "why_not", lambda: "cannot make network namespaces")
    result = CliRunner().invoke(command.main, ["--all", "-o", str(tmp_path / "corpus")])
    assert result.exit_code == 1
    assert result.output == "Error: cannot make network namespaces\n"


def test_a_scenario_counts_as_done_only_with_its_own_settings(tmp_path: Path) -> None:
    scenario = Scenario("one", "none", "cable", (("mail",),))
    assert not corpus.is_done(tmp_path, scenario)
    summary = '{"scenario": {"name": "one", "tunnel": "none", "network": "cable", "hosts": [["mail"]], "seconds": 40,'
    (tmp_path / "scenario.json").write_text(summary + ' "mtu": 1500, "seed": 0}}')
    assert corpus.is_done(tmp_path, scenario)
    assert not corpus.is_done(tmp_path, Scenario("one", "none", "cable", (("mail",),), seed=1))


def test_a_folder_without_scenarios_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LaboratoryError, match="no scenario"):
        corpus.gather(tmp_path)


@pytest.mark.skipif(bool(REASON), reason=REASON or "namespaces can be made")
def test_whatever_ends_a_scenario_ends_its_programs() -> None:
    mark = f"{time.time_ns()}"
    code = f"import subprocess, time; subprocess.Popen(['sleep', '{mark}']); print(1, flush=True); time.sleep(60)"
    outer = subprocess.Popen(confined([sys.executable, "-c", code]), stdout=subprocess.PIPE)
    assert outer.stdout is not None
    assert outer.stdout.readline() == b"1\n"
    wait_until_running(mark, True)  # a program that has just started has no arguments for a moment
    outer.kill()
    outer.wait()
    wait_until_running(mark, False)
    outer.stdout.close()


def wait_until_running(mark: str, wanted: bool) -> None:
    end = time.monotonic() + 10
    while running(mark) != wanted:
        assert time.monotonic() < end
        time.sleep(0.02)


def running(mark: str) -> bool:
    """Whether a program has this argument."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", mark.encode()]:
            return True
    return False
