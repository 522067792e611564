"""Spark labels a data frame as `infer` labels its file, wherever its rows are, and whatever becomes of an executor."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
import pyspark.sql
import pytest

import etcc_edge
from etcc_edge.bundle import Bundle, save_bundle
from etcc_edge.errors import EtccError, FlowsError
from etcc_edge.flows.features import features
from etcc_edge.flows.text.reader import FlowFile
from etcc_edge.infer import spark as etcc

pl = pytest.importorskip("polars")

pytestmark = pytest.mark.skipif(
    shutil.which("java") is None, reason="needs Java 17: apt install openjdk-17-jre-headless"
)

GENERATED = Path(__file__).parents[1] / "data" / "generated-flows.csv"
LABELS = ["etcc_protocol", "etcc_protocol_confidence", "etcc_application", "etcc_application_confidence"]
ROWS = 200  # of the generated flows


def session(master: str, folder: Path) -> Any:
    """Splits little, so that few rows are many tasks and batches."""
    options = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.executor.memory": "512m",
        "spark.local.dir": str(folder),
        "spark.sql.execution.arrow.maxRecordsPerBatch": "70",
        "spark.sql.files.openCostInBytes": "128m",  # a task for each file
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.warehouse.dir": str(folder),
        "spark.ui.enabled": "false",
    }
    builder = pyspark.sql.SparkSession.builder.master(master)
    for name, value in options.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        local = session("local[2]", tmp_path_factory.mktemp("spark"))
        yield local
        local.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four Parquet files of flows that have a number each."""
    folder = tmp_path_factory.mktemp("flows")
    flows = pl.read_csv(GENERATED)
    for i in range(4):
        numbered = flows.with_columns(pl.Series("number", np.arange(ROWS) + i * ROWS))
        numbered.write_parquet(folder / f"{i}.parquet")
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> Any:
    return etcc_edge.label(pl.read_parquet(folder).to_arrow())


def rows_of(table: Any) -> list[tuple[Any, ...]]:
    """Every flow's number and labels, in the order of the numbers."""
    columns = [table[name].to_pylist() for name in ["number", *LABELS]]
    return sorted(zip(*columns, strict=True))


def test_a_data_frame_gets_the_labels_of_its_files(spark: Any, folder: Path, expected: Any) -> None:
    flows = spark.read.parquet(str(folder))
    labelled = etcc.label(flows)
    assert labelled.columns == [*flows.columns, *LABELS]
    assert [kind for _, kind in labelled.dtypes[-4:]] == ["string", "float"] * 2
    assert rows_of(labelled.toArrow()) == rows_of(expected)


def test_the_rows_of_a_sample_say_how_all_are_read(spark: Any, folder: Path) -> None:
    """Without the packet rate, nothing tells the unit of a row's times."""
    with FlowFile(GENERATED) as file:
        times = [file.cells[i] for name, i in file.reading.columns.items() if features()[name].unit == "us"]
    in_seconds = pl.read_parquet(folder).with_columns(pl.col(times) / 1e6)
    rate = pl.when(pl.col("number") < ROWS).then(pl.col("Flow Packets/s"))
    expected = rows_of(etcc_edge.label(in_seconds.with_columns(rate).to_arrow()))
    flows = spark.createDataFrame(in_seconds.with_columns(rate).to_arrow())
    with_rate, without = flows.where(f"number < {ROWS}"), flows.where(f"number >= {ROWS}")
    assert rows_of(etcc.label(without, sample=with_rate).toArrow()) == expected[ROWS:]
    assert rows_of(etcc.label(without).toArrow()) != expected[ROWS:]


def test_with_a_sample_the_schema_is_known_and_no_row_was_asked_for(spark: Any, folder: Path) -> None:
    flows = spark.read.parquet(str(folder))
    failing = flows.where("raise_error('a row was asked for') is null")
    labelled = etcc.label(failing, sample=flows, known=True)
    assert labelled.columns == [*flows.columns, *LABELS, "etcc_known"]
    with pytest.raises(Exception, match="a row was asked for"):
        labelled.count()


def test_a_bad_row_has_null_labels_and_fails_nothing(spark: Any, folder: Path, expected: Any) -> None:
    flows = spark.read.parquet(str(folder))
    duration = """case number when 7 then 'long' when 8 then cast(unhex('ff') as string) when 9 then null
                  else cast(`Flow Duration` as string) end"""
    mean = "case when number = 10 then `Flow IAT Max` * 2 + 1000 else `Flow IAT Mean` end"
    damaged = flows.withColumn("Flow Duration", pyspark.sql.functions.expr(duration))
    damaged = damaged.withColumn("Flow IAT Mean", pyspark.sql.functions.expr(mean))
    labelled = rows_of(etcc.label(damaged, sample=damaged.where("number > 20")).toArrow())
    assert [row[1:] for row in labelled if row[0] in (7, 8, 10)] == [(None, None, None, None)] * 3
    # An absent value is none that is wrong.
    assert [row for row in labelled if row[0] not in (7, 8, 9, 10)] == [
        row for row in rows_of(expected) if row[0] not in (7, 8, 9, 10)
    ]
    assert labelled[9][1] is not None


def test_columns_of_every_type_pass_unchanged(spark: Any, folder: Path) -> None:
    own = pyspark.sql.functions.expr
    flows = spark.read.parquet(str(folder)).limit(20)
    columns = {
        "day": own("date '2017-07-05'"),
        "time": own("timestamp '2017-07-05 10:00:00'"),
        "sum": own("cast(number as decimal(20, 3))"),
        "bytes": own("unhex('00ff')"),
        "list": own("array(number, null)"),
        "map": own("map('number', number)"),
        "struct": own("named_struct('number', number, 'nothing', null)"),
        "nothing": own("null"),
        "yes": own("true"),
    }
    flows = flows.withColumns(columns)
    labelled = etcc.label(flows)
    assert labelled.schema.fields[: len(flows.columns)] == flows.schema.fields
    assert labelled.select(flows.columns).orderBy("number").collect() == flows.orderBy("number").collect()


def test_names_with_points_and_two_of_one_name_stay(spark: Any, folder: Path) -> None:
    flows = spark.read.parquet(str(folder)).selectExpr("*", "1 as `Label.1`", "2 as note", "3 as note")
    labelled = etcc.label(flows)
    assert labelled.columns == [*flows.columns, *LABELS]
    assert labelled.first()[-7:-4] == (1, 2, 3)
    twice = flows.selectExpr("*", "1 as `Flow Duration`")
    with pytest.raises(FlowsError, match=r"'Flow Duration' \(column .*could both be flow_duration"):
        etcc.label(twice)


def test_what_cannot_be_labelled_is_said_before_a_row_is(spark: Any, folder: Path) -> None:
    flows = spark.read.parquet(str(folder))
    with pytest.raises(FlowsError, match="data frame: no shipped bundle fits"):
        etcc.label(flows.drop("Flow Duration"))
    with pytest.raises(FlowsError, match="data frame: bundle default needs what the file lacks: flow_duration"):
        etcc.label(flows.drop("Flow Duration"), "default")
    with pytest.raises(FlowsError, match="data frame: lacks flow_duration"):
        etcc.label(flows.drop("Flow Duration"), etcc_edge.load("default").bundle)
    with pytest.raises(FlowsError, match="data frame: has a column 'etcc_protocol' already"):
        etcc.label(flows.withColumnRenamed("Flow ID", "etcc_protocol"))
    timed = flows.withColumn("Flow Duration", flows["Flow Duration"].cast("timestamp"))
    with pytest.raises(FlowsError, match="data frame: column 'Flow Duration' holds timestamp"):
        etcc.label(timed)
    with pytest.raises(FlowsError, match="data frame: the sample has other columns or types"):
        etcc.label(timed, sample=flows)
    with pytest.raises(FlowsError, match="data frame: the sample has no rows"):
        etcc.label(flows, sample=flows.limit(0))


def test_a_data_frame_without_rows_gets_the_columns(spark: Any, folder: Path) -> None:
    labelled = etcc.label(spark.read.parquet(str(folder)).where("number < 0"))
    assert (labelled.columns[-4:], labelled.count()) == (LABELS, 0)


def test_a_stream_is_labelled_as_it_comes(spark: Any, folder: Path, expected: Any, tmp_path: Path) -> None:
    flows = spark.read.parquet(str(folder))
    stream = spark.readStream.schema(flows.schema).option("maxFilesPerTrigger", 1).parquet(str(folder))
    with pytest.raises(FlowsError, match="data frame: is a stream; give a data frame with some of its rows as sample"):
        etcc.label(stream)
    writer = etcc.label(stream, sample=flows).writeStream.trigger(availableNow=True).format("parquet")
    query = writer.option("checkpointLocation", str(tmp_path / "state")).start(str(tmp_path / "out"))
    assert query.awaitTermination(120)
    assert len(query.recentProgress) >= 4
    assert rows_of(spark.read.parquet(str(tmp_path / "out")).toArrow()) == rows_of(expected)


def test_spark_connect_is_refused() -> None:
    with pytest.raises(EtccError, match="data frame: is of Spark Connect"):
        etcc.label(SimpleNamespace(sparkSession=SimpleNamespace()))


def test_a_worker_opens_its_classifier_once(spark: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from etcc_edge.infer import classifier

    opened = []
    open_cascade = classifier.open_cascade
    monkeypatch.setattr(classifier, "open_cascade", lambda *a, **k: opened.append(k) or open_cascade(*a, **k))
    flows = spark.read.parquet(str(folder))
    monkeypatch.setattr(type(flows), "mapInArrow", lambda _, run, schema: SimpleNamespace(toDF=lambda *names: run))
    in_a_worker = etcc.label(flows)
    batches = pq.read_table(folder / "0.parquet").to_batches(50)
    partitions = [sum(map(len, in_a_worker(iter(batches)))) for _ in range(3)]
    assert partitions == [ROWS] * 3
    assert list(in_a_worker(iter([]))) == []
    assert [given["threads"] for given in opened] == [1]


NAMES = ["duration", "flowBytesPerSecond", "flowPktsPerSecond", "mean_flowiat", "max_flowiat", "min_flowiat"]


def random_flows(rows: int) -> dict[str, list[float | None]]:
    """Numbers of every kind, also those that no flow has."""
    rng = np.random.default_rng(5)
    kinds: list[Any] = [None, -1.0, 0.0, 1e30, 1e39, float("inf"), float("nan")]

    def number() -> float | None:
        kind = int(rng.integers(2 * len(kinds)))
        return kinds[kind] if kind < len(kinds) else float(rng.choice([rng.uniform(0, 1e6), rng.integers(2**53)]))

    return {name: [number() for _ in range(rows)] for name in NAMES}


def test_random_flows_get_the_labels_of_their_csv_file(spark: Any, tiny_bundle: Bundle, tmp_path: Path) -> None:
    columns = random_flows(3000)
    cells = (",".join("" if cell is None else str(cell) for cell in row) for row in zip(*columns.values(), strict=True))
    path = tmp_path / "flows.csv"
    path.write_text("\n".join([",".join(NAMES), *cells]) + "\n")
    expected: list[tuple[Any, ...]] = []
    with FlowFile(path) as file:
        classifier = etcc_edge.Classifier(tiny_bundle)
        for _, result in classifier.classify(file.batches(classifier.features)):
            protocol, application = (result.labels(level).tolist() for level in ("protocol", "application"))
            sure, sure_of_both = result.confidence.tolist()
            expected += zip(protocol, sure, application, sure_of_both, strict=True)
    flows = spark.createDataFrame(pa.table({**columns, "number": range(3000)}))
    assert flows.rdd.getNumPartitions() > 1
    save_bundle(tiny_bundle, tmp_path / "tiny")
    labelled = rows_of(etcc.label(flows, tmp_path / "tiny").toArrow())
    none = ("", float("nan")) * 2
    given = [
        tuple(other if cell is None else cell for cell, other in zip(row[1:], none, strict=True)) for row in labelled
    ]
    assert 100 < sum(bool(row[0]) for row in given) < 2900
    np.testing.assert_equal(given, expected)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_job_outlives_an_executor(folder: Path, expected: Any, tmp_path: Path) -> None:
    if (active := pyspark.sql.SparkSession.getActiveSession()) is not None:
        active.stop()
    mark = tmp_path / "killed"

    def parent(process: int) -> int:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])

    def killing(batches: Iterator[Any]) -> Iterator[Any]:
        """In a worker: the first that meets flow 700 kills its executor, whose child's child it is."""
        for batch in batches:
            if 700 in batch["number"].to_pylist() and not mark.exists():
                mark.touch()
                os.kill(parent(os.getppid()), signal.SIGKILL)
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        spark = session("local-cluster[2,1,1024]", tmp_path)
        try:
            flows = spark.read.parquet(str(folder)).repartition(16, "number")
            labelled = etcc.label(flows)
            labelled.mapInArrow(killing, labelled.schema).write.parquet(str(tmp_path / "out"))
            assert mark.exists()
            assert rows_of(spark.read.parquet(str(tmp_path / "out")).toArrow()) == rows_of(expected)
        finally:
            spark.stop()
