"""The whole of ``etcc-edge infer`` against two scripts, and its reader against polars and pandas (extra bench).

``python -m etcc_edge.bench.infer_whole [--flows N] [--bundle NAME] [--turns N]`` prints JSON: seconds by wall clock and
of processor time, peaks of memory, and how many times faster (median, low, high). The scripts lie in ``scripts/`` and
pass the input's columns on, as ``--columns all`` does; their labels must be the same. All get ``--threads 2``, the
readers one.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from etcc_edge.bundle import load_bundle
from etcc_edge.flows.generated import sample_rows
from etcc_edge.flows.text.reader import FlowFile

from .timing.paired import Paired, Spread, run_process, time_paired

SCRIPTS = Path(__file__).parent / "scripts"
OURS = "etcc-edge"
LABELS = ("etcc_protocol", "etcc_application")
THREADS = "2"
FEATURES = 41  # of the 85 columns


def commands(flows: Path, folder: Path, bundle: str) -> dict[str, list[str]]:
    """Each contender's command, which writes ``folder/NAME.csv``."""
    infer = [str(Path(sysconfig.get_path("scripts")) / "etcc-edge"), "infer", "--columns", "all", "--force"]
    named = [] if bundle == "default" else ["--bundle", bundle]  # auto takes the default
    made = {OURS: [*infer, str(flows), "-o", str(folder / f"{OURS}.csv"), "--threads", THREADS, *named]}
    for script in sorted(SCRIPTS.glob("*.py")):
        out = str(folder / f"{script.stem}.csv")
        made[script.stem] = [sys.executable, str(script), str(flows), out, "--bundle", bundle, "--threads", THREADS]
    return made


def labels(path: Path) -> list[tuple[str, ...]]:
    with path.open(newline="") as stream:
        rows = csv.reader(stream)
        header = next(rows)
        at = [header.index(name) for name in LABELS]
        return [tuple(row[i] for i in at) for row in rows]


def figures(spread: Spread, digits: int = 3) -> dict[str, float]:
    return {name: round(getattr(spread, name), digits) for name in ("median", "low", "high")}


def compared(paired: Paired) -> dict[str, Any]:
    """Seconds of each, and how many times faster ours is than each other."""
    return {
        "seconds": {name: figures(spread) for name, spread in paired.seconds.items()},
        "times_faster": {name: figures(paired.speed_up(OURS, name), 2) for name in paired.seconds if name != OURS},
    }


def whole(flows: Path, folder: Path, bundle: str, turns: int) -> dict[str, Any]:
    """Whole processes, in turn."""
    wanted = commands(flows, folder, bundle)
    runs: dict[str, list[tuple[float, float, int]]] = {name: [] for name in wanted}

    def run(name: str) -> None:
        done = run_process(wanted[name])
        runs[name].append((done.seconds, done.cpu_seconds, done.peak_bytes))

    time_paired({name: lambda name=name: run(name) for name in wanted}, turns)  # type: ignore[misc]
    kept = {name: list(zip(*values[1:], strict=True)) for name, values in runs.items()}  # without the warm-up
    ours = labels(folder / f"{OURS}.csv")
    return {
        "wall": compared(Paired({name: Spread(values[0]) for name, values in kept.items()})),
        "cpu": compared(Paired({name: Spread(values[1]) for name, values in kept.items()})),
        "peak_mb": {name: round(max(values[2]) / 1e6) for name, values in kept.items()},
        "flows_with_other_labels": {
            name: sum(a != b for a, b in zip(ours, labels(folder / f"{name}.csv"), strict=True))
            for name in wanted
            if name != OURS
        },
    }


def readers(flows: Path, turns: int) -> dict[str, Any]:
    """CSV to float32 columns by one thread, in seconds of processor time."""
    os.environ["POLARS_MAX_THREADS"] = "1"
    import pandas as pd  # type: ignore[import-untyped]
    import polars as pl

    names = load_bundle("default").features[:FEATURES]
    with FlowFile(flows) as file:
        places = [file.reading.columns[name] for name in names]
        columns = [file.columns[place] for place in places]

    def ours() -> object:
        with FlowFile(flows) as opened:
            return [batch.features for batch in opened.batches(names)]

    contenders: Mapping[str, Callable[[], object]] = {
        OURS: ours,
        "polars": lambda: pl.read_csv(flows, columns=columns, schema_overrides=dict.fromkeys(columns, pl.Float32)),
        "pandas": lambda: pd.read_csv(flows, engine="c", usecols=places, dtype=np.float32),
    }
    return compared(time_paired(contenders, turns, 1, time.process_time))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--flows", type=int, default=160_000)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flows.csv"
        with path.open("w") as stream:
            stream.writelines(sample_rows(arguments.flows, seed=9))
        report = {
            "flows": arguments.flows,
            "bytes": path.stat().st_size,
            "bundle": arguments.bundle,
            "whole": whole(path, Path(folder), arguments.bundle, arguments.turns),
            "reader": readers(path, 3 * arguments.turns),
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
