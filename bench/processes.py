"""Whole processes: labelling a file from start to exit, and starting up."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from etcc_edge.flows.text.header import read_header
from etcc_edge.flows.text.stream import ByteStream

from .contenders.backends import BASELINE, EXTRA, Contender
from .timing.paired import ProcessRun, run_process
from .timing.turns import median_interval, relative_spread, usual_range

SCRIPTS = {"pandas script": "pandas", "polars script": "polars"}
# Python puts the current folder first on its path, and that may hold the source without its compiled module.
_WITHOUT_FOLDER = "import sys; del sys.path[0]; "
_FOLDER = Path(__file__).parent / "scripts"


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


def infer(contenders: Sequence[Contender], bundle: str, flows: Path, threads: int, *more: str) -> list[Process]:
    """`etcc-edge infer` with each backend and precision that can run."""
    command = [sys.executable, "-c", f"{_WITHOUT_FOLDER}from etcc_edge.cli import main; main()", "infer", str(flows)]
    command += ["-o", f"{flows}.out", "--force"]
    command += ["--bundle", bundle, "--threads", str(threads), *more]
    return [
        Process(c.name, c.precision, c.kind, [*command, "--backend", c.name, "--precision", c.precision])
        for c in contenders
    ]


def scripts(bundle: str, flows: Path, threads: int, meter: str) -> list[Process]:
    """The baseline scripts; they know CICDarknet2020's columns alone."""
    made = []
    for name, library in SCRIPTS.items():
        path = _FOLDER / f"{library}_onnxruntime.py"
        why_not = "" if importlib.util.find_spec(library) else f"not measured: {EXTRA}"
        if meter != "cicdarknet2020":
            why_not = f"reads cicdarknet2020 files alone, not {meter}"
        command = [sys.executable, str(path), str(flows), f"{flows}.out", "--bundle", bundle, "--threads", str(threads)]
        made.append(Process(name, "fp32", BASELINE, command, why_not))
    return made


def run_in_turn(processes: Sequence[Process], turns: int, tell: Callable[[Process], None] = lambda _: None) -> None:
    """Each once a turn, every other turn in reverse order. One that fails has the reason, and no more turns."""
    for turn in range(turns):
        for process in processes if turn % 2 == 0 else reversed(processes):
            if process.why_not:
                continue
            tell(process)
            try:
                process.runs.append(run_process(process.command))
            except (OSError, subprocess.CalledProcessError) as error:
                process.why_not = f"failed: {error}"


def process_figures(process: Process, flows: int, against: Process | None = None) -> dict[str, Any]:
    """Seconds from start to exit, processor time, peak of resident memory, and how many times faster than another
    process, turn by turn; ``error`` alone without a run."""
    if not process.runs:
        return {"error": process.why_not}
    seconds = [run.seconds for run in process.runs]
    rates = [flows / value for value in seconds]
    cpu = [flows / run.cpu_seconds for run in process.runs]
    made: dict[str, Any] = {
        "calls": len(seconds),
        "seconds": float(np.median(seconds)),
        "cpu_seconds": float(np.median([run.cpu_seconds for run in process.runs])),
        "peak_bytes": max(run.peak_bytes for run in process.runs),
        "flows_per_s": float(np.median(rates)),
        "flows_per_s_interval": median_interval(rates),
        "flows_per_s_range": usual_range(rates),
        "flows_per_cpu_s": float(np.median(cpu)),
        "flows_per_cpu_s_range": usual_range(cpu),
        "spread": relative_spread(rates),
    }
    if against is not None and against is not process and len(against.runs) == len(process.runs):
        ratios = [theirs.seconds / own for theirs, own in zip(against.runs, seconds, strict=True)]
        made |= {"speed_up": float(np.median(ratios)), "speed_up_interval": median_interval(ratios)}
    return made | ({"error": process.why_not} if process.why_not else {})


def start_up(one_flow: Path, contenders: Sequence[Contender], bundle: str, turns: int) -> dict[str, Any]:
    """Median seconds of a Python that does nothing, that imports the package, and of `infer` on one flow by backend."""
    python = [sys.executable, "-c"]
    bare = Process("python", "", "", [*python, "pass"])
    imported = Process("import", "", "", [*python, f"{_WITHOUT_FOLDER}import etcc_edge; etcc_edge.Classifier"])
    started = infer(contenders, bundle, one_flow, 1)
    run_in_turn([bare, imported, *started], turns)
    made: Mapping[str, Process] = {f"{p.name} {p.precision}".strip(): p for p in (bare, imported, *started)}
    return {name: float(np.median([run.seconds for run in p.runs])) if p.runs else None for name, p in made.items()}
