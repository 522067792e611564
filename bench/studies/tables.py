"""Tables, Parquet and Spark: ``python -m etcc_edge.bench.studies.tables``.

Labels generated flows from Parquet to Parquet, beside `infer` from CSV to CSV and the polars script; a table in memory,
beside `predict` on the same numbers; and Parquet on Spark, beside the labelling alone and Spark's reading and writing
alone, and on one worker beside two. What is compared takes turns, and must give the same labels. One JSON line a
figure: the median of the turns, the lowest and the highest. Needs the extra bench, and for Spark the extra spark and
Java 17; without them the last line says so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np

from etcc_edge.bundle import load_bundle
from etcc_edge.errors import EtccError
from etcc_edge.flows.generated import sample_rows
from etcc_edge.infer.classifier import Classifier

from ..contenders.backends import backends
from ..processes import Process, infer, output_of, run_in_turn, scripts
from ..report.plain import plain
from ..timing.paired import Paired, Spread, time_paired

BUNDLE = "default"
THREADS = 2
PARQUET, CSV, SCRIPT = "infer, Parquet", "infer, CSV", "polars script, Parquet"
TABLE, PREDICT = "label_table", "predict"
JOB, COPY, NATIVE = "Spark with labels", "Spark without labels", "labels alone"
ONE, TWO = "one worker", "two workers"
LARGER = 4  # times the flows, to see whether memory grows


@dataclass(kw_only=True)
class Figure:
    """``seconds``: the median by what was measured."""

    figure: str
    flows: int
    turns: int
    median: float
    low: float
    high: float
    seconds: dict[str, float] = field(default_factory=dict)


def figure(name: str, flows: int, ratios: Sequence[float], paired: Paired) -> Figure:
    median, low, high = (round(value, 3) for value in (float(np.median(ratios)), min(ratios), max(ratios)))
    seconds = {key: round(spread.median, 3) for key, spread in paired.seconds.items()}
    return Figure(figure=name, flows=flows, turns=len(ratios), median=median, low=low, high=high, seconds=seconds)


def write_flows(flows: int, folder: Path) -> tuple[Path, Path]:
    """Generated flows as CSV, and the same as Parquet, as polars reads and writes them."""
    import polars as pl

    text = folder / "flows.csv"
    with text.open("w", encoding="utf-8") as stream:
        stream.writelines(sample_rows(flows, seed=9))
    parquet = folder / "flows.parquet"
    pl.read_csv(text, infer_schema_length=None).write_parquet(parquet)
    return text, parquet


def file_figures(text: Path, parquet: Path, flows: int, turns: int) -> Iterator[Figure]:
    """Whole processes in two threads, all columns kept. Raises EtccError where one fails or gives other labels."""
    native = [contender for contender in backends(load_bundle(BUNDLE)) if contender.key == "native fp32"]
    ours = {path: infer(native, BUNDLE, path, THREADS, "--columns", "all")[0] for path in (parquet, text)}
    [script] = [process for process in scripts(BUNDLE, parquet, THREADS, "cicdarknet2020") if "polars" in process.name]
    processes = {PARQUET: ours[parquet], CSV: ours[text], SCRIPT: script}
    outputs = {PARQUET: output_of(parquet), CSV: output_of(text), SCRIPT: output_of(parquet)}
    labels = {}
    for name, process in processes.items():
        _run(process)
        labels[name] = labels_of(outputs[name])
        process.runs.clear()
    check_same(labels)
    run_in_turn(list(processes.values()), turns)
    seconds = {name: Spread(tuple(run.seconds for run in process.runs)) for name, process in processes.items()}
    paired = Paired(seconds)
    for other in (SCRIPT, CSV):
        yield figure(f"{PARQUET}: times as fast as {other}", flows, _times(paired, PARQUET, other), paired)
    for times in (1, LARGER):
        process = ours[parquet]
        if times > 1:
            [process] = infer(native, BUNDLE, _repeated(parquet, times), THREADS, "--columns", "all")
            for _ in range(turns):
                _run(process)
        peaks = [run.peak_bytes / 1e6 for run in process.runs]
        yield figure(f"{PARQUET}: peak memory, 10⁶ bytes", times * flows, peaks, Paired({}))


def _times(paired: Paired, name: str, against: str) -> tuple[float, ...]:
    return paired.speed_up(name, against).values


def _run(process: Process) -> None:
    run_in_turn([process], 1)
    if process.why_not:
        raise EtccError(f"{process.name}: {process.why_not}")


def _repeated(parquet: Path, times: int) -> Path:
    """Its row groups so many times, in one file."""
    import pyarrow.parquet as pq

    path = parquet.with_stem("larger")
    source = pq.ParquetFile(parquet)
    with pq.ParquetWriter(path, source.schema_arrow, compression="zstd") as writer:
        for _ in range(times):
            for group in range(source.num_row_groups):
                writer.write_table(source.read_row_group(group))
    return path


def labels_of(path: Path) -> list[tuple[str | None, ...]]:
    """Both labels of every flow of a labelled file or folder."""
    import polars as pl

    columns = ["etcc_protocol", "etcc_application"]
    if path.suffix == ".csv":
        table = pl.read_csv(path, columns=columns, infer_schema=False)
    else:
        table = pl.read_parquet(path, columns=columns).with_columns(pl.col(columns).cast(pl.String))
    return table.select(pl.col(columns).replace("", None)).rows()


def check_same(labels: Mapping[str, Sequence[tuple[str | None, ...]]]) -> None:
    """Raises EtccError where one has other labels than the first."""
    first, *others = labels
    for name in others:
        if labels[name] != labels[first]:
            raise EtccError(f"{name}: has other labels than {first}")


def table_figure(parquet: Path, turns: int) -> Figure:
    """A table of the bundle's features in memory, as float32, and the same as an array [n, f]."""
    import pyarrow as pa

    classifier = Classifier(BUNDLE, threads=THREADS)
    array = features_of(parquet, classifier.features)
    table = pa.table({name: array[:, i].copy() for i, name in enumerate(classifier.features)})
    labels = classifier.label_table(table)["etcc_protocol"].to_pylist()
    if labels != [name or None for name in classifier.predict(array).labels("protocol")]:
        raise EtccError(f"{TABLE}: has other labels than {PREDICT}")
    calls: dict[str, Callable[[], object]] = {
        TABLE: lambda: classifier.label_table(table),
        PREDICT: lambda: classifier.predict(array),
    }
    paired = time_paired(calls, turns)
    return figure(f"{TABLE}: speed as a share of {PREDICT}'s", len(array), _times(paired, TABLE, PREDICT), paired)


def features_of(parquet: Path, names: Sequence[str]) -> np.ndarray:
    """float32 [n, f]."""
    from etcc_edge.flows.arrow.files import open_table
    from etcc_edge.flows.table import TableFlows

    with TableFlows(open_table(parquet)) as flows:
        return np.concatenate([batch.features for batch in flows.batches(names)])


def spark_figures(parquet: Path, flows: int, turns: int, folder: Path) -> Iterator[Figure]:
    """Jobs on a folder of ``flows`` at least, which has the file over and over. Raises EtccError where one fails or
    labels other numbers of flows."""
    import pyarrow.parquet as pq

    rows = pq.read_metadata(parquet).num_rows
    copies = -(-flows // rows)
    source, target = folder / "flows", folder / "labelled"
    source.mkdir()
    for copy in range(copies):
        os.link(parquet, source / f"{copy:06}.parquet")
    jobs: dict[str, Callable[[], float]] = {
        JOB: lambda: job("local[2]", "label", source, target),
        COPY: lambda: job("local[2]", "copy", source, target),
        NATIVE: lambda: copies * seconds_to_label(parquet),
        ONE: lambda: job("local-cluster[1,1,1024]", "label", source, target),
        TWO: lambda: job("local-cluster[2,1,1024]", "label", source, target),
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(turns):
        for name in jobs if turn % 2 == 0 else reversed(jobs):
            seconds[name].append(jobs[name]())
            if name in (JOB, ONE, TWO):
                check_counts(parquet, copies, target)
            shutil.rmtree(target, ignore_errors=True)
    paired = Paired({name: Spread(tuple(values)) for name, values in seconds.items()})
    apart = [copy + native for copy, native in zip(seconds[COPY], seconds[NATIVE], strict=True)]
    shares = [both / parts for both, parts in zip(seconds[JOB], apart, strict=True)]
    yield figure(f"{JOB}: time as a share of its parts'", copies * rows, shares, paired)
    yield figure(f"Spark on {TWO}: times as fast as on {ONE}", copies * rows, _times(paired, TWO, ONE), paired)


def why_no_spark() -> str:
    """Empty where there is Spark."""
    if find_spec("pyspark") is None:
        return "Spark: not measured: pip install 'etcc-edge[spark]'"
    return "" if shutil.which("java") else "Spark: not measured: needs Java 17"


def job(master: str, task: str, source: Path, target: Path) -> float:
    """Seconds that Spark's job took, without its start. Raises EtccError where it fails."""
    script = Path(__file__).parents[1] / "scripts" / "spark_job.py"
    command = [sys.executable, str(script), master, task, str(source), str(target)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or [""])[-1]
        raise EtccError(f"Spark on {master} failed to {task}: {reason}")
    return float(run.stdout.splitlines()[-1])


def seconds_to_label(parquet: Path) -> float:
    """In two threads, the rows in memory already."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(parquet)
    classifier = Classifier(BUNDLE, threads=THREADS)
    classifier.label_table(file.read_row_group(0).slice(0, 1000))  # opens the engines
    seconds = 0.0
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)
        start = time.perf_counter()
        classifier.label_table(table)
        seconds += time.perf_counter() - start
    return seconds


def check_counts(parquet: Path, copies: int, labelled: Path) -> None:
    """Raises EtccError where a folder does not have so many flows of each label."""
    import polars as pl

    of_table = Classifier(BUNDLE, threads=THREADS).label_table(pl.read_parquet(parquet))
    columns = pl.col("etcc_protocol", "etcc_application").cast(pl.String)
    expected = of_table.lazy().group_by(columns).agg(pl.len() * copies)
    given = pl.scan_parquet(labelled / "*.parquet").group_by(columns).len()
    if sorted(expected.collect().rows(), key=str) != sorted(given.collect().rows(), key=str):
        raise EtccError(f"{JOB}: has other labels than {NATIVE}")


@click.command()
@click.option("--flows", default=1_000_000, show_default=True, type=click.IntRange(1000), help="Of files and tables.")
@click.option("--spark-flows", default=20_000_000, show_default=True, type=click.IntRange(1), help="The same repeated.")
@click.option("--turns", default=5, show_default=True, type=click.IntRange(1))
@click.option("--spark-turns", default=3, show_default=True, type=click.IntRange(0), help="0: without Spark.")
def main(flows: int, spark_flows: int, turns: int, spark_turns: int) -> None:
    """Measure tables, Parquet and Spark on generated flows; print a JSON line a figure.

    \b
    Example:
      python -m etcc_edge.bench.studies.tables --flows 160000 --turns 7 --spark-turns 0
    """
    with tempfile.TemporaryDirectory(prefix="etcc-edge-bench-") as name:
        folder = Path(name)
        try:
            text, parquet = write_flows(flows, folder)
            for measured in file_figures(text, parquet, flows, turns):
                _print(measured)
            _print(table_figure(parquet, turns))
            if spark_turns and (reason := why_no_spark()):
                raise EtccError(reason)
            if spark_turns:
                for measured in spark_figures(parquet, spark_flows, spark_turns, folder):
                    _print(measured)
        except EtccError as error:
            raise click.ClickException(str(error)) from error


def _print(measured: Figure) -> None:
    click.echo(json.dumps(plain(measured), ensure_ascii=False))


if __name__ == "__main__":
    main(prog_name="python -m etcc_edge.bench.studies.tables")
