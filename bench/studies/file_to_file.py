"""Whole processes and the reader against scripts: ``python -m etcc_edge.bench.studies.file_to_file``.

Labels a file of generated flows from start to exit, by ``etcc-edge infer`` and by the scripts that one might write
instead, which must give the same labels; and reads its text into columns on one thread, beside polars and pandas.
Needs the extra bench.
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from etcc_edge.bundle import load_bundle
from etcc_edge.errors import EtccError
from etcc_edge.flows.generated import sample_rows
from etcc_edge.flows.text.reader import FlowFile

from ..contenders.backends import backends
from ..processes import Process, infer, output_of, run_in_turn, scripts
from ..report.plain import plain
from ..timing.paired import Paired, Spread, time_paired

OURS = "etcc-edge"
THREADS = 2
READER_FEATURES = 41  # of the file's 85 columns
_LABELS = ("etcc_protocol", "etcc_application")


@dataclass(kw_only=True)
class Repeats:
    """One figure over the turns."""

    median: float
    low: float
    high: float


@dataclass(kw_only=True)
class Compared:
    """Seconds by name, and how many times faster this package is, turn by turn."""

    seconds: dict[str, Repeats]
    times_faster: dict[str, Repeats]


@dataclass(kw_only=True)
class WholeFigures:
    """``peak_mb``: the largest resident set, in 10⁶ bytes."""

    wall: Compared
    cpu: Compared
    peak_mb: dict[str, int]
    flows_with_other_labels: dict[str, int]


@dataclass(kw_only=True)
class FileToFile:
    flows: int
    bytes: int
    bundle: str
    whole: WholeFigures
    reader: Compared


def compared(paired: Paired) -> Compared:
    others = [name for name in paired.seconds if name != OURS]
    return Compared(
        seconds={name: _repeats(spread, 3) for name, spread in paired.seconds.items()},
        times_faster={name: _repeats(paired.speed_up(OURS, name), 2) for name in others},
    )


def _repeats(spread: Spread, digits: int) -> Repeats:
    median, low, high = (round(value, digits) for value in (spread.median, spread.low, spread.high))
    return Repeats(median=median, low=low, high=high)


def programs(flows: Path, bundle: str) -> list[Process]:
    """`infer`, which passes all columns on as the scripts do, and the scripts; all write to `output_of` ``flows``."""
    native = [contender for contender in backends(load_bundle(bundle)) if contender.key == "native fp32"]
    (ours,) = infer(native, bundle, flows, THREADS, "--columns", "all")
    ours.name = OURS
    return [ours, *scripts(bundle, flows, THREADS, "cicdarknet2020")]


def compare_whole(processes: Sequence[Process], output: Path, turns: int) -> WholeFigures:
    """Each once to warm up and for its labels, then in turn. All write to ``output``; the first is this package's.
    Raises EtccError where one cannot run."""
    labels = {}
    for process in processes:
        run_in_turn([process], 1)
        if process.why_not:
            raise EtccError(f"{process.name}: {process.why_not}")
        labels[process.name] = labels_of(output)
        process.runs.clear()
    run_in_turn(processes, turns)
    return WholeFigures(
        wall=compared(_paired(processes, lambda process: [run.seconds for run in process.runs])),
        cpu=compared(_paired(processes, lambda process: [run.cpu_seconds for run in process.runs])),
        peak_mb={process.name: round(max(run.peak_bytes for run in process.runs) / 1e6) for process in processes},
        flows_with_other_labels={
            name: sum(a != b for a, b in zip(labels[OURS], others, strict=True))
            for name, others in labels.items()
            if name != OURS
        },
    )


def _paired(processes: Sequence[Process], seconds_of: Callable[[Process], Sequence[float]]) -> Paired:
    return Paired({process.name: Spread(tuple(seconds_of(process))) for process in processes})


def labels_of(path: Path) -> list[tuple[str, ...]]:
    """Both labels of every flow of a labelled file."""
    with path.open(newline="") as stream:
        rows = csv.reader(stream)
        header = next(rows)
        places = [header.index(name) for name in _LABELS]
        return [tuple(row[place] for place in places) for row in rows]


def compare_readers(flows: Path, turns: int) -> Compared:
    """Text to float32 columns by one thread, in seconds of processor time."""
    import pandas as pd  # type: ignore[import-untyped]
    import polars as pl

    names = load_bundle("default").features[:READER_FEATURES]
    with FlowFile(flows) as file:
        places = [file.reading.columns[name] for name in names]
        columns = [file.columns[place] for place in places]

    def read() -> object:
        with FlowFile(flows) as opened:
            return [batch.features for batch in opened.batches(names)]

    readers: Mapping[str, Callable[[], object]] = {
        OURS: read,
        "polars": lambda: pl.read_csv(flows, columns=columns, schema_overrides=dict.fromkeys(columns, pl.Float32)),
        "pandas": lambda: pd.read_csv(flows, engine="c", usecols=places, dtype=np.float32),
    }
    return compared(time_paired(readers, turns, clock=time.process_time))


@click.command()
@click.option("--flows", "count", default=160_000, show_default=True, type=click.IntRange(1), help="To generate.")
@click.option("--bundle", default="default", show_default=True, metavar="NAME|PATH")
@click.option("--turns", default=5, show_default=True, type=click.IntRange(1), help="Of processes; of readers 3 times.")
def main(count: int, bundle: str, turns: int) -> None:
    """Compare `etcc-edge infer` with scripts, and its reader with polars and pandas; print JSON.

    \b
    Example:
      python -m etcc_edge.bench.studies.file_to_file --turns 7
    """
    os.environ["POLARS_MAX_THREADS"] = "1"  # polars reads it when it is imported; the scripts set their own
    with tempfile.TemporaryDirectory(prefix="etcc-edge-bench-") as folder:
        path = Path(folder) / "flows.csv"
        with path.open("w", encoding="utf-8") as stream:
            stream.writelines(sample_rows(count, seed=9))
        try:
            figures = FileToFile(
                flows=count,
                bytes=path.stat().st_size,
                bundle=bundle,
                whole=compare_whole(programs(path, bundle), output_of(path), turns),
                reader=compare_readers(path, 3 * turns),
            )
        except EtccError as error:
            raise click.ClickException(str(error)) from error
    click.echo(json.dumps(plain(figures), indent=1))


if __name__ == "__main__":
    main(prog_name="python -m etcc_edge.bench.studies.file_to_file")
