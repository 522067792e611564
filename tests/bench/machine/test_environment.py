"""What a report says of the machine: others' use of it, energy, and no folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from etcc_edge.bench.machine.environment import EnergyMeter, OthersWatch, environment


def test_energy_is_counted_over_all_packages_and_past_the_counters_end(tmp_path: Path) -> None:
    for zone, joules in (("intel-rapl:0", 5), ("intel-rapl:1", 7), ("intel-rapl:0:0", 1000)):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "energy_uj").write_text(f"{joules}000000\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("10000000\n")
    meter = EnergyMeter(tmp_path)
    before = meter.joules()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("8000000")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("1000000")
    assert meter.why_not == ""
    assert meter.between(before, meter.joules()) == pytest.approx(3 + 4)


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    assert "no RAPL counters" in EnergyMeter(tmp_path / "none").why_not
    (tmp_path / "intel-rapl:0").mkdir()
    assert "cannot be read" in EnergyMeter(tmp_path).why_not


def stat(path: Path, busy_seconds: int) -> Path:
    """As the kernel writes it: a number of ticks for each kind of use, the fourth and fifth of which are idle."""
    busy = busy_seconds * os.sysconf("SC_CLK_TCK")
    path.write_text(f"cpu {busy} 0 0 999999 999999 0 0 0 0 0\n")
    return path


@pytest.mark.parametrize(("busy", "own", "share"), [(7, 4, 0.3), (4, 4, 0.0), (4, 5, 0.0), (90, 1, 1.0)])
def test_what_others_took_is_what_was_busy_and_not_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: int, own: int, share: float
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    wall, own_seconds = iter([100.0, 105.0]), iter([50.0, 50.0 + own])
    path = stat(tmp_path / "stat", 1000)
    watch = OthersWatch(path, lambda: next(wall), lambda: next(own_seconds))
    stat(path, 1000 + busy)
    assert watch.share() == pytest.approx(share)


def test_a_system_that_does_not_count_has_no_share(tmp_path: Path) -> None:
    assert OthersWatch(tmp_path / "none").share() is None


def test_the_environment_names_no_folder() -> None:
    text = str(environment())
    assert str(Path.home()) not in text
    assert str(Path(__file__).parents[3]) not in text
