"""The scripts that others are measured by label flows as this package does, and the study counts where they do not."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

import etcc_edge
from etcc_edge.bench.processes import Process, output_of, script_of
from etcc_edge.bench.studies import file_to_file
from etcc_edge.bench.timing.paired import Paired, Spread
from etcc_edge.errors import EtccError

FLOWS = Path(__file__).parents[2] / "data" / "generated-flows.csv"


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_script_gives_the_same_labels_and_keeps_the_columns(tmp_path: Path, library: str) -> None:
    pytest.importorskip(library)
    out = tmp_path / "out.csv"
    script = script_of(library)
    subprocess.run([sys.executable, script, FLOWS, out, "--bundle", "default", "--threads", "2"], check=True)
    [(_, result)] = etcc_edge.load("default").classify(FLOWS)
    expected = list(zip(result.labels("protocol").tolist(), result.labels("application").tolist(), strict=True))
    assert file_to_file.labels_of(out) == expected
    with FLOWS.open(newline="") as given, out.open(newline="") as written:
        assert [row[0] for row in csv.reader(written)] == [row[0] for row in csv.reader(given)]


def test_times_faster_are_of_this_package_against_each_other() -> None:
    seconds = {"etcc-edge": Spread((1, 2, 4)), "pandas": Spread((8, 6, 8))}
    figures = file_to_file.compared(Paired(seconds))
    assert figures.seconds["pandas"] == file_to_file.Repeats(median=8, low=6, high=8)
    assert figures.times_faster == {"pandas": file_to_file.Repeats(median=3, low=2, high=8)}


def writes(output: Path, *labels: str) -> list[str]:
    """A command that writes a labelled file."""
    rows = ["id,etcc_protocol,etcc_application", *(f"1,{label},Chat" for label in labels)]
    return [sys.executable, "-S", "-c", f"open({str(output)!r}, 'w').write({chr(10).join(rows)!r})"]


def test_every_program_runs_in_turn_and_its_labels_are_compared(tmp_path: Path) -> None:
    output = output_of(tmp_path / "flows.csv")
    ours = Process("etcc-edge", "fp32", "backend", writes(output, "VPN", "Tor", "Tor"))
    same = Process("same", "fp32", "baseline", writes(output, "VPN", "Tor", "Tor"))
    other = Process("other", "fp32", "baseline", writes(output, "VPN", "VPN", "VPN"))
    figures = file_to_file.compare_whole([ours, same, other], output, 2)
    assert figures.flows_with_other_labels == {"same": 0, "other": 2}
    assert [len(process.runs) for process in (ours, same, other)] == [2, 2, 2]
    assert set(figures.wall.times_faster) == set(figures.cpu.times_faster) == {"same", "other"}
    assert set(figures.peak_mb) == {"etcc-edge", "same", "other"}


def test_a_program_that_cannot_run_is_an_error_with_its_name(tmp_path: Path) -> None:
    fails = Process("fails", "fp32", "baseline", ["false"])
    with pytest.raises(EtccError, match="fails: failed"):
        file_to_file.compare_whole([fails], output_of(tmp_path / "flows.csv"), 1)


def test_all_programs_read_one_file_and_write_another() -> None:
    programs = file_to_file.programs(Path("flows.csv"), "default")
    assert [program.name for program in programs] == ["etcc-edge", "pandas script", "polars script"]
    for program in programs:
        assert {"flows.csv", "flows.out.csv"} <= set(program.command)


def test_the_readers_read_the_same_file() -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("polars")
    figures = file_to_file.compare_readers(FLOWS, 2)
    assert list(figures.seconds) == ["etcc-edge", "polars", "pandas"]
    assert list(figures.times_faster) == ["polars", "pandas"]
