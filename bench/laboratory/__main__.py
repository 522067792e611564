"""Runs scenarios of the laboratory: ``python -m etcc_edge.bench.laboratory --help``."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import click

from etcc_edge.errors import EtccError

from . import corpus
from .scenario import Scenario, scenarios
from .tunnels import TUNNELS
from .world import LaboratoryError, why_not


@click.command()
@click.option("--list", "listed", is_flag=True, help="Name the scenarios, and what each lacks here.")
@click.option("--scenario", "names", multiple=True, metavar="NAME", help="Run this one; may be repeated.")
@click.option("--all", "everything", is_flag=True, help="Run every scenario that has its programs.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FOLDER", help="Captures, table and flows.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(1), help="Repeats on further seeds.")
@click.option("--parallel", default=os.cpu_count() or 1, show_default="the cores", type=click.IntRange(1))
def main(
    listed: bool, names: tuple[str, ...], everything: bool, output: Path | None, seed: int, rounds: int, parallel: int
) -> None:
    """Run real tunnels and applications in network namespaces, and record them inside and outside of the tunnel.

    \b
    Example:
      python -m etcc_edge.bench.laboratory --scenario wireguard.0.fibre.0 -o corpus
    """
    table = {scenario.name: scenario for scenario in scenarios({n: t.udp for n, t in TUNNELS.items()}, rounds, seed)}
    if listed:
        for scenario in table.values():
            lacks = corpus.missing(scenario)
            click.echo(f"{scenario.name}{'  needs ' + ', '.join(lacks) if lacks else ''}")
        return
    if not (names or everything) or output is None:
        raise click.UsageError("say --list, or --scenario NAME or --all with -o FOLDER")
    if unknown := [name for name in names if name not in table]:
        raise click.UsageError(f"no scenario {unknown[0]!r}; --list names them")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        failed = _run([table[name] for name in names] or list(table.values()), output, parallel, seed)
    except EtccError as error:
        raise click.ClickException(str(error)) from error
    sys.exit(1 if failed else 0)


def _run(wanted: list[Scenario], output: Path, parallel: int, seed: int) -> list[str]:
    if reason := why_not():
        raise LaboratoryError(reason)
    able = [scenario for scenario in wanted if not corpus.missing(scenario)]
    for scenario in wanted:
        if scenario not in able:
            click.echo(f"left out: {scenario.name}: needs {', '.join(corpus.missing(scenario))}", err=True)
    output.mkdir(parents=True, exist_ok=True)
    done, failed = corpus.run(able, output, parallel, seed, lambda line: click.echo(line, err=True))
    captures, digest = corpus.gather(output)
    flows = corpus.meter(output)
    summary = {
        "command": " ".join(sys.argv), "seed": seed, "scenarios": done, "failed": failed, "captures": captures,
        "flows": flows, "labels_sha256": digest, "versions": corpus.versions(able),
    }  # fmt: skip
    (output / "corpus.json").write_text(json.dumps(summary, indent=1) + "\n")
    click.echo(f"{done} scenarios, {captures} captures, {flows} flows; labels {digest[:16]}")
    return failed


if __name__ == "__main__":
    main(prog_name="python -m etcc_edge.bench.laboratory")
