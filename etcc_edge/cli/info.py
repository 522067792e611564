"""``etcc-edge info``"""

from __future__ import annotations

import json
import platform
import shlex
import shutil
from typing import Any

import click

from etcc_edge.bundle import Bundle, load_bundle, shipped_bundles
from etcc_edge.cli.terminal import complete_bundles, print_table
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.flows.features import features
from etcc_edge.flows.names import one_line
from etcc_edge.version import __version__


@click.command()
@click.argument("bundle", required=False, shell_complete=complete_bundles)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option("--card", is_flag=True, help="The bundle's model card.")
def command(bundle: str | None, as_json: bool, card: bool) -> None:
    """What BUNDLE is; without one, the shipped bundles, this machine's backends and the known features.

    \b
    Examples:
      etcc-edge info
      etcc-edge info default --card
    """
    if card and not bundle:
        raise click.UsageError("--card needs a BUNDLE")
    if bundle is None:
        _machine(as_json)
    elif card:
        click.echo(load_bundle(bundle).model_card)
    else:
        _bundle(load_bundle(bundle), bundle, as_json)


def _machine(as_json: bool) -> None:
    backends: dict[str, dict[str, Any]] = {
        name: {"usable": not why, "why_not": why, "precisions": list(backend.precisions), "summary": backend.summary}
        for name, backend in BACKENDS.items()
        for why in [backend.why_not()]
    }
    bundles = {name: load_bundle(path) for name, path in shipped_bundles().items()}
    if as_json:
        report: dict[str, Any] = {
            "etcc_edge": __version__,
            "machine": platform.machine(),
            "python": platform.python_version(),
            "backends": backends,
            "bundles": {name: _describe(bundle) for name, bundle in bundles.items()},
            "features": {feature.name: feature.unit for feature in features().values()},
        }
        click.echo(json.dumps(report, indent=1))
        return
    click.echo(f"etcc-edge {__version__}, Python {platform.python_version()}, {platform.machine()}\n")
    print_table(
        ["backend", "usable here", "precisions"],
        [
            [name, "yes" if b["usable"] else f"no: {b['why_not']}", ", ".join(b["precisions"])]
            for name, b in backends.items()
        ],
    )
    click.echo()
    print_table(
        ["shipped bundle", "view", "protocols", "features", "meter", "flow timeout"],
        [
            [
                name,
                bundle.flow_definition.view,
                ", ".join(bundle.root.labels),
                str(len(bundle.features)),
                bundle.flow_definition.meter,
                f"{bundle.flow_definition.timeout_s:g} s",
            ]
            for name, bundle in bundles.items()
        ],
    )
    names = ", ".join(f"{feature.name} ({feature.unit})" for feature in features().values())
    click.echo("\n" + click.wrap_text(f"features: {names}", shutil.get_terminal_size().columns))


def _describe(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "location": one_line(bundle.location),
        "features": dict(zip(bundle.features, bundle.units, strict=True)),
        "flow_definition": vars(bundle.flow_definition),
        "nodes": {
            node.id: {"labels": node.labels, "network": [str(layer) for layer in node.network]}
            for node in bundle.nodes()
        },
        "precisions": sorted({precision for _, precision in bundle.onnx}),
        "training": bundle.training,
        "metrics": bundle.metrics,
        "license": bundle.license,
        "citations": bundle.citations,
    }


def _bundle(bundle: Bundle, typed: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_describe(bundle), indent=1))
        return
    definition, training = bundle.flow_definition, bundle.training
    flows = f"{definition.meter} flows of view {definition.view or '(not stated)'}"
    click.echo(f"{bundle.name}: {flows}, {definition.timeout_s:g} s timeout, {one_line(bundle.location)}")
    click.echo(f"made by: {training.get('command', 'unknown')}\n")
    notes = training.get("stages", {})
    print_table(
        ["node", "labels", "multiply-adds", "parameters"],
        [
            [
                node.id,
                ", ".join(node.labels),
                *(str(notes.get(node.id, {}).get(k, "")) for k in ("multiply_adds", "parameters")),
            ]
            for node in bundle.nodes()
        ],
    )
    click.echo(f"\nfeatures: {', '.join(bundle.features)}")
    click.echo(f"the figures are in its model card: etcc-edge info {shlex.quote(typed)} --card")
