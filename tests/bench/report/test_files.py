"""A report in every format, and read again."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from etcc_edge.bench.contenders.backends import Contender
from etcc_edge.bench.figures import ProcessFigures, Report
from etcc_edge.bench.report.files import FORMATS, as_csv, as_json, read, write
from etcc_edge.bench.report.tables import rate, size, summary
from etcc_edge.errors import EtccError

RESULTS = Path(__file__).parents[3] / "bench" / "results"

Fake = Callable[..., Contender]


@pytest.mark.parametrize("name", ["default.json", "paper-cnns.json"])
def test_a_shipped_report_is_the_same_after_it_was_read(name: str) -> None:
    assert as_json(read(RESULTS / name)) + "\n" == (RESULTS / name).read_text()


def test_every_format_holds_the_same_figures(bench: Any, fake: Fake, linear: Any, tmp_path: Path) -> None:
    report = bench(fake("onnxruntime", linear(1e-3, 3e-4)), fake("native", linear(1e-3, 7e-5)))
    for suffix in FORMATS:
        write(tmp_path / f"report{suffix}", report)
    assert read(tmp_path / "report.json") == report
    table = list(csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text())))
    assert [float(row["flows_per_s"]) for row in table] == [row.figures.flows_per_s for row in report.measurements]
    assert [float(row["p99_us"]) for row in table if row["p99_us"]] == [
        row.figures.p99_us for row in report.measurements if row.figures.p99_us is not None
    ]
    assert [float(row["flows_per_s_interval_low"]) for row in table] == [
        row.figures.flows_per_s_interval[0] for row in report.measurements
    ]
    texts = [
        unescape((tmp_path / f"report{suffix}").read_text()).replace("\u2060", "").replace("\u00a0", " ")
        for suffix in (".md", ".html")
    ]
    for text in texts:
        for row in report.measurements:
            assert rate(row.figures.flows_per_s) in text
        for line in summary(report).rows:
            assert all(cell in text for cell in line)
    assert as_csv(report).count("\n") == len(report.measurements) + 1


def test_a_part_of_a_report_can_be_written_and_read(plan_bench: Any, fake: Fake, linear: Any, tmp_path: Path) -> None:
    bench = plan_bench(fake("onnxruntime", linear(0, 1e-3), fails_at=600, error=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    for suffix in FORMATS:
        write(tmp_path / f"part{suffix}", bench.report)
    assert read(tmp_path / "part.json") == bench.report
    assert "was interrupted" in (tmp_path / "part.html").read_text()


def test_the_page_has_its_plots_and_loads_nothing(bench: Any, fake: Fake, linear: Any) -> None:
    report = bench(fake("onnxruntime", linear(1e-3, 3e-4)), fake("native", linear(1e-3, 7e-5)))
    page = FORMATS[".html"](report)
    for title in ("Accuracy against latency", "Throughput, 1 thread", "Latency, 1 thread", "Share of each stage"):
        assert f'aria-label="{title}' in page
    assert not re.search(r"<script|src=|href=|nan", page)


def peak_of_native(report: Report) -> str:
    peaks = [
        m.figures.peak_bytes
        for m in report.measurements
        if m.contender == "native" and isinstance(m.figures, ProcessFigures)
    ]
    return f"{peaks[0] / (1 << 20):.1f}\u00a0MiB"


def test_the_page_names_the_processor_and_writes_sizes_for_people() -> None:
    report = read(RESULTS / "default.json")
    page = FORMATS[".html"](report)
    assert "on 2 processors of AMD EPYC (family 26, model 2, stepping 1), with " in page
    assert peak_of_native(report) in page
    assert not re.search(r"\d{7,}</td>|\bMB\b", page)


def test_prose_is_aligned_left_and_numbers_right() -> None:
    report = read(RESULTS / "default.json")
    page = FORMATS[".html"](report)
    assert re.search(r'<tr><th>cpu</th><td class="first prose">|<tr><th>cpu</th><td class="prose">', page)
    assert f"<td>{peak_of_native(report)}</td>" in page
    assert "th.prose, td.prose { text-align: left;" in page


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (2_500_000, "2.4 MiB"), (8 << 30, "8.0 GiB")],
)
def test_bytes_are_in_the_largest_unit_that_they_fill(value: float | None, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize("name", ["default.md", "default.html", "paper-cnns.md"])
def test_a_shipped_page_is_of_its_json(name: str) -> None:
    path = RESULTS / name
    assert FORMATS[path.suffix](read(path.with_suffix(".json"))) == path.read_text()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is no JSON report of etcc-edge bench"),
        ("[]", "is no JSON report of etcc-edge bench"),
        ('{"schema": 9, "measurements": []}', "has schema 9"),
        ('{"schema": 1, "measurements": []}', "is no whole report of etcc-edge bench: Report lacks complete"),
    ],
)
def test_another_file_is_no_report(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(EtccError, match=reason):
        read(tmp_path / "other.json")


def damaged(place: list[Any], value: Any) -> str:
    """The shipped report with another value there, or without the key."""
    report = json.loads((RESULTS / "default.json").read_text())
    inner = report
    for name in place[:-1]:
        inner = inner[name]
    if value is None:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return json.dumps(report)


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (["environment", "cpu"], None, "Report.environment lacks cpu"),
        (["environment", "cpus"], "two", "Report.environment.cpus is 'two'"),
        (["complete"], 1, "Report.complete is 1"),
        (["flows", "flows"], True, "Report.flows.flows is True"),
        (["contenders", "native fp32"], 3, "Report.contenders.native fp32 is '3'"),
        (["measurements", 0, "steady"], None, r"Report.measurements\[0\] lacks steady"),
        (["measurements", 0, "flows_per_s_range"], [1.0], r"flows_per_s_range has 1 values"),
        (["recommendation"], {"refused": {}}, "Report.recommendation has too few keys"),
    ],
)
def test_a_report_that_lacks_a_key_or_holds_another_value_is_one_line_that_names_it(
    tmp_path: Path, place: list[Any], value: Any, reason: str
) -> None:
    (tmp_path / "damaged.json").write_text(damaged(place, value))
    with pytest.raises(EtccError, match=reason) as caught:
        read(tmp_path / "damaged.json")
    assert "\n" not in str(caught.value)


def test_keys_that_a_later_version_adds_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "later.json").write_text(damaged(["environment", "weather"], "rain"))
    assert read(tmp_path / "later.json") == read(RESULTS / "default.json")
