"""The study of tables measures nothing whose labels differ, and says the ratio of every turn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from etcc_edge.bench.studies import tables
from etcc_edge.bench.timing.paired import Paired, Spread
from etcc_edge.errors import EtccError

pytest.importorskip("pyarrow")
pl = pytest.importorskip("polars")


def test_a_figure_is_the_median_of_the_turns() -> None:
    paired = Paired({"a": Spread((1, 2, 4)), "b": Spread((8, 6, 8))})
    measured = tables.figure("b by a", 10, paired.speed_up("a", "b").values, paired)
    assert (measured.median, measured.low, measured.high, measured.turns) == (3, 2, 8, 3)
    assert measured.seconds == {"a": 2, "b": 8}


def test_other_labels_are_an_error() -> None:
    tables.check_same({"a": [("VPN", None)], "b": [("VPN", None)]})
    with pytest.raises(EtccError, match="c: has other labels than a"):
        tables.check_same({"a": [("VPN", None)], "b": [("VPN", None)], "c": [("VPN", "Chat")]})


def test_every_flow_of_a_job_must_have_its_label(tmp_path: Path) -> None:
    _, parquet = tables.write_flows(1000, tmp_path)
    labelled = tables.Classifier("default").label_table(pl.read_parquet(parquet))
    for name in "ab":
        labelled.write_parquet(tmp_path / "out" / f"{name}.parquet", mkdir=True)
    tables.check_counts(parquet, 2, tmp_path / "out")
    with pytest.raises(EtccError, match="Spark with labels: has other labels than labels alone"):
        tables.check_counts(parquet, 3, tmp_path / "out")


@pytest.mark.slow
def test_files_and_tables_are_measured() -> None:
    run = CliRunner().invoke(tables.main, ["--flows", "1000", "--turns", "1", "--spark-turns", "0"])
    assert run.exit_code == 0, run.output
    figures = [json.loads(line) for line in run.stdout.splitlines()]
    assert [measured["flows"] for measured in figures] == [1000, 1000, 1000, 4000, 1000]
    assert all(measured["low"] == measured["high"] > 0 for measured in figures)


@pytest.mark.slow
@pytest.mark.skipif(bool(tables.why_no_spark()), reason=tables.why_no_spark())
def test_spark_is_measured(tmp_path: Path) -> None:
    _, parquet = tables.write_flows(1000, tmp_path)
    figures = list(tables.spark_figures(parquet, 1500, 1, tmp_path))
    assert [measured.flows for measured in figures] == [2000, 2000]
    assert set(figures[0].seconds) == {tables.JOB, tables.COPY, tables.NATIVE, tables.ONE, tables.TWO}
