"""``etcc-edge check``"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from itertools import groupby
from typing import Any

import click

from etcc_edge.checking.file import check_file
from etcc_edge.checking.findings import Finding, findings, verdict
from etcc_edge.checking.leakage import twins_across
from etcc_edge.checking.result import Check, to_json
from etcc_edge.cli.terminal import FILE, byte_progress, counted, print_table, shown, status, test_share_option
from etcc_edge.errors import EtccError
from etcc_edge.flows.stream import STDIN
from etcc_edge.flows.truth import read_labelled

CANNOT_BE_LABELLED = 3

_COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow"}
_SEVERITY_WIDTH = max(map(len, _COLOURS))


@click.command()
@click.argument("flows", type=FILE)
@click.option("--protocol-column", metavar="C", help="Header name of the true protocol; a second X is X.1.")
@click.option("--application-column", metavar="C", help="Header name of the true application.")
@click.option(
    "--split",
    "kind",
    type=click.Choice(["random", "flow-id", "session"]),
    help="Count the test flows of train's split that have a twin among its training flows.",
)
@test_share_option
@click.option("--groups", metavar="FILE", type=FILE, help="The name of each flow's capture, line by line.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1), help="Of the split.")
@click.option("--columns", is_flag=True, help="Every feature as well: its column, odd values and range.")
@click.option("--json", "as_json", is_flag=True, help="Every figure as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    flows: str,
    protocol_column: str | None,
    application_column: str | None,
    kind: str | None,
    test_share: float,
    groups: str | None,
    seed: int,
    columns: bool,
    as_json: bool,
) -> None:
    """Whether FLOWS can be labelled or trained on: CSV, ARFF, a capture, plain, .gz, .zst or a .zip of one file;
    a Parquet or Arrow file (extra: pip install 'etcc-edge[arrow]'); - is standard input.

    The first line says whether infer labels the file as it is. The others say how it is read, which values are odd
    and, where it has labels, what gives them away. The file is read once, with --split twice; --split needs the extra:
    pip install 'etcc-edge[train]'. Exit 3 where infer would fail.

    \b
    Examples:
      etcc-edge check flows.csv
      etcc-edge check Darknet.CSV --split random
      zcat flows.csv.gz | etcc-edge check - --columns
    """
    if (groups is not None) != (kind == "session"):
        raise click.UsageError("--groups FILE and --split session go together")
    if kind and flows == STDIN:
        raise click.UsageError("--split reads the flows twice; name a file instead of standard input")
    split = _split() if kind else None
    with byte_progress(flows) as progress:
        check = check_file(
            flows, protocol_column=protocol_column, application_column=application_column, progress=progress
        )
    if kind and split:
        with status() as tell:
            tell(f"splitting {flows}")
            labelled = read_labelled(
                flows,
                "all",
                protocol_column=protocol_column,
                application_column=application_column,
                groups=groups,
                to_split=True,
            )
            parts = split(labelled, kind, seed, validation_share=0.0, test_share=test_share)
            check = check.with_split(twins_across(labelled, kind, seed, parts.train, parts.test))
    lines = findings(check)
    with shown():
        if as_json:
            click.echo(json.dumps({**to_json(check), "findings": [vars(line) for line in lines]}, indent=1))
        else:
            _print_findings(check, lines)
            if columns:
                click.echo()
                _print_columns(check)
    if check.failure:
        ctx.exit(CANNOT_BE_LABELLED)


def _split() -> Callable[..., Any]:
    """train's own; it needs libraries that labelling does not."""
    try:
        from etcc_edge.training.splits import split
    except ImportError as error:
        raise EtccError(f"--split needs {error.name}: pip install 'etcc-edge[train]'") from error
    return split


def _print_findings(check: Check, lines: list[Finding]) -> None:
    """A line each; on a terminal, wrapped beside its topic."""
    warnings = sum(line.severity == "warning" for line in lines)
    colour = "red" if check.failure else "yellow" if not check.rows.readable else "green"
    click.echo(f"{check.file}: {click.style(verdict(check), fg=colour)}")
    click.echo(f"{counted(check.rows.rows, 'flow')}, {counted(warnings, 'warning')}")
    topic_width = max(len(line.topic) for line in lines)
    indent = " " * (2 + _SEVERITY_WIDTH + 2 + topic_width + 2)
    width = max(80, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 1 << 20
    for part, of_part in groupby(lines, lambda line: line.part):
        click.echo(f"\n{part}")
        for line in of_part:
            severity = click.style(line.severity.ljust(_SEVERITY_WIDTH), fg=_COLOURS[line.severity])
            text = click.wrap_text(line.text, width, indent, indent).removeprefix(indent)
            click.echo(f"  {severity}  {line.topic.ljust(topic_width)}  {text}")


def _print_columns(check: Check) -> None:
    def bound(value: float | None) -> str:
        return "" if value is None else f"{value:.6g}"

    rows = [
        [
            name,
            check.columns[name],
            value.unit,
            *(str(cells or "") for cells in (value.missing, value.infinite, value.negative)),
            bound(value.min),
            bound(value.max),
        ]
        for name, value in check.values.items()
    ]
    rows += [[name, "(absent)", *[""] * 6] for name in check.features_missing]
    print_table(["feature", "column", "unit", "missing", "infinite", "negative", "min", "max"], rows)
