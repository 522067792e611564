"""``etcc-edge evaluate``"""

from __future__ import annotations

import click

from etcc_edge.bundle.model import VIEWS
from etcc_edge.bundle.precision import PRECISIONS
from etcc_edge.cli.labelled import captures_option, check_source
from etcc_edge.cli.terminal import FILE, as_typed, check_reports, complete_bundles, note, print_table, status
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.errors import EtccError
from etcc_edge.evaluation.file import evaluate_file
from etcc_edge.evaluation.report import FORMATS, as_json, write_report
from etcc_edge.evaluation.tables import UNITS, confusion_tables, part_table, remarks, score_table, titles, windows_text
from etcc_edge.flows.stream import STDIN


@click.command()
@click.argument("flows", required=False, type=FILE)
@captures_option
@click.option(
    "--bundle",
    "bundles",
    default=["auto"],
    show_default=True,
    multiple=True,
    metavar="auto|NAME|PATH",
    shell_complete=complete_bundles,
    help="Shipped name or a path; repeat it to compare bundles side by side.",
)
@click.option(
    "--view",
    type=click.Choice(list(VIEWS)),
    help="Where the flows were captured, which auto cannot tell: inside a tunnel, on its interface, or on the wire. "
    "Default: inside is assumed.",
)
@click.option("--backend", default="auto", show_default=True, type=click.Choice(["auto", *BACKENDS]))
@click.option("--precision", default="auto", show_default=True, type=click.Choice(["auto", *PRECISIONS]))
@click.option("--protocol-column", metavar="C", help="Header name of the true protocol; a second X is X.1.")
@click.option("--application-column", metavar="C", help="Header name of the true application.")
@click.option(
    "--groups",
    metavar="FILE",
    type=FILE,
    help="The name of each flow's capture, line by line: intervals go by session.",
)
@click.option(
    "--rows",
    default="all",
    show_default=True,
    type=click.Choice(["all", "test"]),
    help="test: without the flows that a bundle of these was trained on, and exact repeats of those.",
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="OUT.html|.md|.json",
    type=FILE,
    help="Write every figure to a file as well; repeatable.",
)
@click.option("--force", is_flag=True, help="Write over existing reports.")
@click.option("--confusion", is_flag=True, help="The confusion matrices too.")
@click.option("--json", "json_wanted", is_flag=True, help="The figures as JSON: of several bundles, a list.")
def command(
    flows: str | None,
    captures: str | None,
    bundles: tuple[str, ...],
    view: str | None,
    backend: str,
    precision: str,
    protocol_column: str | None,
    application_column: str | None,
    groups: str | None,
    rows: str,
    reports: tuple[str, ...],
    force: bool,
    confusion: bool,
    json_wanted: bool,
) -> None:
    """How well a bundle labels the flows of FLOWS, or of captures, whose labels are known.

    Applications are scored given the true protocol, and end to end. In parentheses: 95 % intervals.

    \b
    Examples:
      etcc-edge evaluate Darknet.CSV
      etcc-edge evaluate flows.csv --bundle my-bundle --rows test --report report.html
      etcc-edge evaluate flows.csv --bundle my-cnn --bundle my-lstm --json
      etcc-edge evaluate --captures captures.csv --bundle my-bundle
    """
    check_source([flows] if flows else [], captures, columns=protocol_column or application_column or groups)
    source = captures or flows or ""
    if flows == STDIN:
        raise click.UsageError("evaluate reads its flows twice; name a file instead of standard input")
    if len(set(bundles)) < len(bundles):
        raise click.UsageError("--bundle: each bundle once")
    check_reports(reports, FORMATS, (flows, captures, groups), force=force)
    with status() as tell:
        tell(f"labelling {source}")
        evaluations = evaluate_file(
            source,
            bundles,
            view=view,
            captures=captures is not None,
            backend=backend,
            precision=precision,
            protocol_column=protocol_column,
            application_column=application_column,
            groups=groups,
            rows=rows,
            command=as_typed(),
            damaged=lambda line: note(f"warning: {line}"),
        )
    if not evaluations[0].scores.flows:
        raise EtccError(f"{source}: no flow is left to score: the bundles were trained on all of them")
    for evaluation in evaluations:
        if not evaluation.scores.coverage:
            known = ", ".join(evaluation.scores.protocol.labels)
            raise EtccError(
                f"{source}: no flow has a protocol that bundle {evaluation.bundle} knows ({known}); name yours with "
                "--bundle"
            )
    for evaluation in evaluations:
        for line in evaluation.doubts():
            note(f"{source}: warning: {line}; see --rows test")
    for report in reports:
        write_report(report, evaluations)
    if json_wanted:
        click.echo(as_json(evaluations))
        return
    for evaluation in evaluations:
        unit = UNITS[evaluation.scores.bootstrap.unit][0]
        note(
            f"{source}: {evaluation.scores.flows} flows, {evaluation.flows_ignored} without label or unreadable; "
            f"bundle {evaluation.bundle}, {evaluation.backend} at {evaluation.precision}; 95 % intervals by {unit}"
        )
    if len(evaluations) == 1:
        table = score_table(evaluations, sign=" %")
        print_table(table.head, table.rows, title="by stage")
    else:
        # More would not fit beside each other; the reports have it.
        scores = score_table(evaluations, ("accuracy",), sign=" %").rows
        print_table(["accuracy", *titles(evaluations)], [[row[0], *row[2::2]] for row in scores])
    for title, evaluation in zip(titles(evaluations), evaluations, strict=True):
        parts = part_table([evaluation])
        print_table(["", *(name for _, name in parts.columns[1:])], parts.rows, title=f"{title} by part, %".strip())
        if evaluation.scores.windows:
            click.echo(windows_text(evaluation.scores.windows))
    for title, evaluation in zip(titles(evaluations), evaluations, strict=True):
        for line in remarks(evaluation):
            click.echo(f"{title}: {line}" if title else line)
    for table in confusion_tables(evaluations, numbered=True) if confusion else []:
        click.echo(f"\n{table.title}")
        print_table([name for _, name in table.columns], table.rows)
