"""Whole processes: labelling a file from start to exit, and starting up."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from etcc_edge.flows.stream import ByteStream
from etcc_edge.flows.text.header import read_header

from .contenders.backends import BASELINE, EXTRA, Contender
from .figures import ProcessFigures
from .timing.paired import ProcessRun, run_process
from .timing.turns import median_interval, relative_spread, usual_range

SCRIPTS = {"pandas script": "pandas", "polars script": "polars"}  # by name, the library of each
# Python puts the current folder first on its path, and that may hold the source without its compiled module.
_WITHOUT_FOLDER = "import sys; del sys.path[0]; "


@dataclass
class Process:
    name: str
    precision: str
    kind: str
    command: list[str]
    why_not: str = ""
    runs: list[ProcessRun] = field(default_factory=list)


def cut_file(path: str, flows: int, target: Path) -> None:
    """The header and at most ``flows`` lines after it, uncompressed."""
    source = ByteStream(path)
    try:
        with target.open("wb") as out:
            block = source.read(1 << 22)
            left = flows + read_header(block, source.name).lines
            while block and left:
                lines = block.splitlines(keepends=True)
                out.writelines(lines[:left])
                left -= min(left, block.count(b"\n"))
                block = source.read(1 << 22)
    finally:
        source.close()


def infer(contenders: Sequence[Contender], bundle: str, flows: Path, threads: int, *options: str) -> list[Process]:
    """`etcc-edge infer` with each of these backends and precisions, to the file `output_of` ``flows``."""
    command = [sys.executable, "-c", f"{_WITHOUT_FOLDER}from etcc_edge.cli import main; main()", "infer", str(flows)]
    command += ["-o", str(output_of(flows)), "--force"]
    command += ["--bundle", bundle, "--threads", str(threads), *options]
    return [
        Process(c.name, c.precision, c.kind, [*command, "--backend", c.name, "--precision", c.precision])
        for c in contenders
    ]


def scripts(bundle: str, flows: Path, threads: int, meter: str) -> list[Process]:
    """The baseline scripts, to the file `output_of` ``flows``; they know CICDarknet2020's columns alone."""
    processes = []
    for name, library in SCRIPTS.items():
        command = [sys.executable, str(script_of(library)), str(flows), str(output_of(flows))]
        command += ["--bundle", bundle, "--threads", str(threads)]
        why_not = "" if importlib.util.find_spec(library) else f"not measured: {EXTRA}"
        if meter != "cicdarknet2020":
            why_not = f"reads cicdarknet2020 files alone, not {meter}"
        processes.append(Process(name, "fp32", BASELINE, command, why_not))
    return processes


def script_of(library: str) -> Path:
    return Path(__file__).parent / "scripts" / f"{library}_onnxruntime.py"


def output_of(flows: Path) -> Path:
    return flows.with_stem(f"{flows.stem}.out")  # the ending says its form


def run_in_turn(processes: Sequence[Process], turns: int, begin: Callable[[Process], None] = lambda _: None) -> None:
    """Each once a turn, every other turn in reverse order; ``begin`` is called before each. One that fails has the
    reason, and no more turns."""
    for turn in range(turns):
        for process in processes if turn % 2 == 0 else reversed(processes):
            if process.why_not:
                continue
            begin(process)
            try:
                process.runs.append(run_process(process.command))
            except (OSError, subprocess.CalledProcessError) as error:
                process.why_not = f"failed: {error}"


def process_figures(process: Process, flows: int, against: Process | None = None) -> ProcessFigures | None:
    """Of labelling a file of so many flows, with the speed-up over another process turn by turn; None without a
    run."""
    if not process.runs:
        return None
    seconds = [run.seconds for run in process.runs]
    rates = [flows / value for value in seconds]
    cpu_rates = [flows / run.cpu_seconds for run in process.runs]
    speed_up = speed_up_interval = None
    if against is not None and against is not process and len(against.runs) == len(process.runs):
        ratios = [theirs.seconds / ours for theirs, ours in zip(against.runs, seconds, strict=True)]
        speed_up, speed_up_interval = float(np.median(ratios)), median_interval(ratios)
    return ProcessFigures(
        calls=len(seconds),
        seconds=float(np.median(seconds)),
        cpu_seconds=float(np.median([run.cpu_seconds for run in process.runs])),
        peak_bytes=max(run.peak_bytes for run in process.runs),
        flows_per_s=float(np.median(rates)),
        flows_per_s_interval=median_interval(rates),
        flows_per_s_range=usual_range(rates),
        flows_per_cpu_s=float(np.median(cpu_rates)),
        flows_per_cpu_s_range=usual_range(cpu_rates),
        spread=relative_spread(rates),
        speed_up=speed_up,
        speed_up_interval=speed_up_interval,
    )


def start_up_seconds(
    one_flow: Path, contenders: Sequence[Contender], bundle: str, turns: int
) -> dict[str, float | None]:
    """Median seconds of a Python that does nothing, that imports the package, and of `infer` on one flow by backend;
    None for one that failed."""
    python = [sys.executable, "-c"]
    bare = Process("python", "", "", [*python, "pass"])
    package = Process("import", "", "", [*python, f"{_WITHOUT_FOLDER}import etcc_edge; etcc_edge.Classifier"])
    processes = [bare, package, *infer(contenders, bundle, one_flow, 1)]
    run_in_turn(processes, turns)
    return {
        f"{process.name} {process.precision}".strip(): (
            float(np.median([run.seconds for run in process.runs])) if process.runs else None
        )
        for process in processes
    }
