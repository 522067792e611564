"""``etcc-edge evaluate``"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from etcc_edge.cli.terminal import fraction, note, print_table, status
from etcc_edge.engine import BACKENDS
from etcc_edge.errors import EtccError
from etcc_edge.evaluation import evaluate_file
from etcc_edge.flows.source import STDIN
from etcc_edge.flows.writer import open_output


@click.command()
@click.argument("flows")
@click.option("--bundle", default="auto", show_default=True, metavar="auto|NAME|PATH", help="Shipped name or a path.")
@click.option("--backend", default="auto", show_default=True, type=click.Choice(["auto", *BACKENDS]))
@click.option("--precision", default="auto", show_default=True, type=click.Choice(["auto", "fp32"]))
@click.option("--protocol-column", metavar="C", help="Header name of the true protocol; a second X is X.1.")
@click.option("--application-column", metavar="C", help="Header name of the true application.")
@click.option(
    "--rows",
    default="all",
    show_default=True,
    type=click.Choice(["all", "test"]),
    help="test: without the flows that the bundle was trained on.",
)
@click.option("--report", metavar="OUT.json", help="Write the figures to a file as well.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def command(
    flows: str,
    bundle: str,
    backend: str,
    precision: str,
    protocol_column: str | None,
    application_column: str | None,
    rows: str,
    report: str | None,
    as_json: bool,
) -> None:
    """How well a bundle labels the flows of FLOWS, whose labels are known.

    Applications are scored given the true protocol, and end to end.

    \b
    Examples:
      etcc-edge evaluate Darknet.CSV
      etcc-edge evaluate flows.csv --bundle my-bundle --rows test --json
    """
    if flows == STDIN:
        raise click.UsageError("evaluate reads its flows twice; name a file instead of standard input")
    if report is not None and Path(report).suffix != ".json":
        raise click.UsageError(f"--report {report}: name a file that ends in .json")
    with status() as tell:
        tell(f"labelling {flows}")
        figures = evaluate_file(
            flows,
            bundle=bundle,
            backend=backend,
            precision=precision,
            protocol_column=protocol_column,
            application_column=application_column,
            rows=rows,
        )
    if not figures["flows"]:
        raise EtccError(f"{flows}: no flow is left to score: the bundle was trained on all of them")
    if seen := figures["flows_trained_on"]:
        note(f"{flows}: warning: bundle {figures['bundle']} was trained on {seen} of these flows; see --rows test")
    if report is not None:
        with open_output(report) as out:
            out.write(json.dumps(figures, indent=1).encode() + b"\n")
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    note(
        f"{flows}: {figures['flows']} flows, {figures['flows_ignored']} without label or unreadable; bundle "
        f"{figures['bundle']}, {figures['backend']} at {figures['precision']}"
    )
    print_table(["", "flows", "accuracy", "precision", "recall", "F1"], score_rows(figures), title="by stage")


def score_rows(figures: dict[str, Any]) -> list[list[str]]:
    """The table of stages: what is scored, over how many flows, and how well."""
    stages = {"protocol": figures["protocol"]}
    stages |= {f"{protocol} applications": scores for protocol, scores in figures["stage2"].items()}
    columns = ("accuracy", "precision", "recall", "f1")
    rows = [[title, str(scores["flows"]), *(fraction(scores[c]) for c in columns)] for title, scores in stages.items()]
    end = figures["end_to_end"]
    return [
        *rows,
        [
            "protocol, known application",
            str(end["flows"]),
            fraction(end["protocol_accuracy"]),
            *[""] * 3,
        ],
        ["end to end, known application", str(end["flows"]), fraction(end["accuracy"]), *[""] * 3],
        ["end to end, all flows", str(figures["flows"]), fraction(end["strict_accuracy"]), *[""] * 3],
    ]
