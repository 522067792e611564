"""Many scenarios: run, resumed, and gathered into one table of labelled captures and one file of labelled flows."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from etcc_edge import _native
from etcc_edge.meter.capture import PROFILES, TIMEOUT, MeteredCapture

from . import content, inside
from .applications import APPLICATIONS
from .record import COLUMNS, TABLE
from .scenario import Scenario
from .tunnels import TUNNELS
from .world import LaboratoryError, confined

_SECONDS = 420  # over a scenario's own, for its tunnel to come up; then it counts as failed
CONTENT = "content"


def programs_of(scenario: Scenario) -> set[str]:
    """The programs that a scenario runs, besides those of the laboratory itself."""
    uses = {name for host in scenario.hosts for name in host}
    named = {program for use in uses for program in APPLICATIONS[use].programs}
    return {*TUNNELS[scenario.tunnel].programs, *named, "tcpdump", "dnsmasq", "ip", "nsenter", "ss"}


def missing(scenario: Scenario) -> list[str]:
    """Which of them are not installed here."""
    return sorted(program for program in programs_of(scenario) if _path(program) is None)


def _path(program: str) -> str | None:
    return shutil.which(program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


def run(
    scenarios: list[Scenario], folder: Path, parallel: int, seed: int, note: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Runs what the folder lacks, up to ``parallel`` at once; returns how many are there now and which failed.

    Whatever ends it, the programs that it started end too, and scenarios that were not done are run again next time.
    """
    content.make(folder / CONTENT, seed)
    waiting = [scenario for scenario in scenarios if not is_done(folder / scenario.name, scenario)]
    finished, failed = len(scenarios) - len(waiting), []
    running: dict[str, tuple[subprocess.Popen[str], float, Scenario]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                scenario = waiting.pop(0)
                running[scenario.name] = _start(scenario, folder), time.monotonic(), scenario
            time.sleep(0.2)
            for name, (process, started, scenario) in list(running.items()):
                seconds = time.monotonic() - started
                if process.poll() is None and seconds > scenario.seconds + _SECONDS:
                    process.kill()
                    process.wait()
                if process.poll() is None:
                    continue
                del running[name]
                problem = (process.stderr.read() if process.stderr else "").strip().splitlines()
                finished += 1
                if process.returncode:
                    failed.append(name)
                    note(f"[{finished}/{len(scenarios)}] {name}: FAILED: {(problem or ['took too long'])[-1]}")
                else:
                    note(f"[{finished}/{len(scenarios)}] {name}: {seconds:.0f} s")
    finally:
        for process, _, _ in running.values():
            process.kill()  # its namespaces, and all in them, end with it
            process.wait()
    return len(scenarios) - len(failed), failed


def is_done(folder: Path, scenario: Scenario) -> bool:
    """Whether the folder holds this scenario's captures, run with these very settings."""
    try:
        summary = json.loads((folder / inside.SUMMARY).read_text())
    except (OSError, ValueError):
        return False
    return bool(summary["scenario"] == json.loads(json.dumps(asdict(scenario))))


def _start(scenario: Scenario, folder: Path) -> subprocess.Popen[str]:
    own = folder / scenario.name
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    arguments = [json.dumps(asdict(scenario)), str(own.absolute()), str((folder / CONTENT).absolute())]
    command = confined([sys.executable, "-m", inside.__name__, *arguments])
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def gather(folder: Path) -> tuple[int, str]:
    """Writes the table of all captures, `TABLE`; returns its rows and the digest of its labels."""
    rows: list[dict[str, str]] = []
    for table in sorted(folder.glob(f"*/{TABLE}")):
        with table.open(newline="") as source:
            rows += [{**row, "capture": f"{table.parent.name}/{row['capture']}"} for row in csv.DictReader(source)]
    if not rows:
        raise LaboratoryError(f"{folder}: holds no scenario that was run to its end")
    with (folder / TABLE).open("w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return len(rows), hashlib.sha256((folder / TABLE).read_bytes()).hexdigest()


def meter(folder: Path, timeout: float = TIMEOUT) -> int:
    """Meters the captures of the table into ``flows.csv``, in the 85 columns of CICDarknet2020, with the number of each
    flow's row of the table in ``flows.captures.txt``; returns the flows."""
    flows = 0
    with (
        (folder / TABLE).open(newline="") as table,
        (folder / "flows.csv").open("w") as out,
        (folder / "flows.captures.txt").open("w") as groups,
    ):
        out.write(_native.meter_header(PROFILES[0]).rstrip("\n") + ",Label\n")
        for row in csv.DictReader(table):
            source = MeteredCapture(folder / row["capture"], timeout=timeout)
            for piece in source.flows():
                for line in piece.text(0).tobytes().decode().splitlines():
                    out.write(f"{line.rpartition(',')[0]},{row['protocol']},{row['application']}\n")
                    groups.write(row["capture"] + "\n")
                    flows += 1
    return flows


def versions(scenarios: list[Scenario]) -> dict[str, str]:
    """Debian's versions of the packages that the programs come from; empty where there is no dpkg."""
    paths = [path for program in set().union(*map(programs_of, scenarios)) if (path := _path(program))]
    if shutil.which("dpkg-query") is None:
        return {}
    found = subprocess.run(["dpkg-query", "-S", *paths], capture_output=True, text=True, check=False).stdout
    packages = sorted({line.partition(":")[0] for line in found.splitlines()})
    command = ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return dict(line.split(" ", 1) for line in listed.splitlines())
