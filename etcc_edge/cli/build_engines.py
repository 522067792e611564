"""``etcc-edge build-engines``"""

from __future__ import annotations

import importlib.util
import json
from typing import Any, Literal

import click

from etcc_edge.bundle import Bundle, load_bundle
from etcc_edge.bundle.precision import PRECISIONS, Precision
from etcc_edge.bundle.seen import Flows, read_flows
from etcc_edge.cli.terminal import FILE, NumberRange, bundle_option, note, print_table, shown, status
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.engines.build import Row, build_engines, keep_verdicts
from etcc_edge.engines.gate import MAX_DRIFT, Drift
from etcc_edge.engines.gpu.cache import EngineCache
from etcc_edge.engines.gpu.tensorrt_rtx import parse_targets
from etcc_edge.errors import BackendError
from etcc_edge.flows.stream import STDIN
from etcc_edge.infer.source import follow, open_source
from etcc_edge.meter import CaptureSource

GATE_FAILED = 3


@click.command()
@bundle_option
@click.option(
    "--backend",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", *BACKENDS]),
    help="auto: what this machine has, and the targets that are named.",
)
@click.option("--precision", default="auto", show_default=True, type=click.Choice(["auto", *PRECISIONS]))
@click.option("--target", metavar="SM,…", help="GPUs to compile for, by compute capability: sm75,sm86,sm89.")
@click.option(
    "--flows",
    metavar="FILE",
    type=FILE,
    help="Gate on the flows of this file or capture that the bundle was not trained on.",
)
@click.option(
    "--max-drift",
    default=MAX_DRIFT,
    show_default=True,
    type=NumberRange(min=0),
    metavar="PP",
    help="Percentage points from fp32, end to end, beyond which a precision is kept out.",
)
@click.option("--json", "as_json", is_flag=True, help="The table as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    bundle: str,
    backend: str,
    precision: Literal["auto"] | Precision,
    target: str | None,
    flows: str | None,
    max_drift: float,
    as_json: bool,
) -> None:
    """Build engines at every precision, measure their drift from fp32, and keep out what drifts too far.

    Compiled engines go to the user's cache (ETCC_EDGE_CACHE names another). Exit 3 where nothing passes.

    \b
    Examples:
      etcc-edge build-engines --flows flows.csv
      etcc-edge build-engines --bundle no-ports --target sm75,sm86,sm89
    """
    if backend not in ("auto", "tensorrt-rtx") and target:
        raise click.UsageError(f"--target is for tensorrt-rtx; leave out --backend {backend}")
    if backend != "auto" and precision not in ("auto", *BACKENDS[backend].precisions):
        raise click.UsageError(f"{backend} has no {precision}; take {' or '.join(BACKENDS[backend].precisions)}")
    if flows == STDIN:
        raise click.UsageError("--flows names a file; standard input cannot be read twice")
    loaded = load_bundle(bundle)
    targets = parse_targets(target) if target else ()
    if backend != "auto" and not targets and (reason := BACKENDS[backend].why_not()):
        raise BackendError(f"{backend} cannot build for this machine: {reason}")
    here = _here(backend, precision, bool(target))
    if targets or any(BACKENDS[name].device == "gpu" and not BACKENDS[name].why_not() for name in here):
        _note_refusals(loaded)
    with status() as tell:
        outcome = build_engines(
            loaded,
            precisions=() if precision == "auto" else (precision,),
            targets=targets,
            here=here,
            flows=_flows(flows, loaded) if flows else None,
            max_drift=max_drift,
            cache=EngineCache(),
            tell=tell,
        )
    if flows and precision == "auto":
        keep_verdicts(loaded, outcome)
    for line in outcome.notes:
        note(line)
    with shown():
        if as_json:
            rows = [{**vars(row), "drift": _drift_figures(row.drift)} for row in outcome.rows]
            click.echo(json.dumps({"bundle": loaded.name, "engines": rows, "taken": outcome.taken}, indent=1))
        else:
            print_table(
                ["network", "precision", "backend", "target", "size", "build", "drift from fp32", "speed", "verdict"],
                [
                    [
                        row.network,
                        row.precision,
                        row.backend,
                        row.target,
                        f"{row.size / 1000:.0f} kB" if row.size else "",
                        f"{row.seconds:.2f} s" if row.size else "",
                        _drift_text(row),
                        "" if row.speed is None else f"{row.speed:.2f} ×",
                        row.verdict,
                    ]
                    for row in outcome.rows
                ],
                title=f"bundle {loaded.name}",
            )
    for where, taken in outcome.taken.items():
        note(f"{where}: {taken} is the first that is not kept out" if taken else f"{where}: nothing passes")
    if not outcome.passed:
        ctx.exit(GATE_FAILED)


def _drift_figures(drift: Drift | None) -> dict[str, Any] | None:
    """None where there was no flow to compare on."""
    if drift is None or not drift.flows:
        return None
    return {"flows": drift.flows, "agreement": drift.agreement, "change_points": drift.change}


def _drift_text(row: Row) -> str:
    if row.drift is None or not row.drift.flows:
        return ""
    change = "" if row.drift.change is None else f"{row.drift.change:+.2f} points, "
    return f"{'at training: ' if row.recorded else ''}{change}{100 * row.drift.agreement:.2f} % agree"


def _flows(path: str, bundle: Bundle) -> Flows:
    with open_source(path) as source:
        if isinstance(source, CaptureSource):
            follow(source, bundle)
            return read_flows(source, bundle)
    return read_flows(path, bundle)


def _note_refusals(bundle: Bundle) -> None:
    """What TensorRT would refuse, node by node. The compile decides; it names no node, but needs no package onnx, which
    reads the files here."""
    if importlib.util.find_spec("onnx") is None:
        return
    from etcc_edge.export.lint import refusals

    for line in refusals(bundle.onnx):
        note(line)


def _here(backend: str, precision: str, targets: bool) -> tuple[str, ...]:
    """The backends to build with for this machine itself."""
    if backend != "auto":
        return () if targets else (backend,)
    return tuple(name for name in BACKENDS if precision == "auto" or precision in BACKENDS[name].precisions)
