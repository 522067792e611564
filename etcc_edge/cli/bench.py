"""``etcc-edge bench``"""

from __future__ import annotations

import click

from etcc_edge.bench.figures import Report
from etcc_edge.bench.prepare import FULL, QUICK, BenchPlan
from etcc_edge.bench.report.compare import changes, differences
from etcc_edge.bench.report.files import FORMATS, as_json, read, write
from etcc_edge.bench.report.tables import cautions, change_table, recommended, summary
from etcc_edge.bench.run import Bench
from etcc_edge.cli.terminal import (
    FILE,
    NumberRange,
    as_typed,
    bundle_option,
    check_reports,
    note,
    print_table,
    shown,
    step_progress,
)

REGRESSED = 3


@click.command()
@bundle_option
@click.option(
    "--flows",
    metavar="FILE",
    type=FILE,
    help="Measure on these flows, with labels also accuracy. Default: generated flows.",
)
@click.option("--quick", is_flag=True, help="In less than a minute: fewer contenders, flows and repeats.")
@click.option(
    "--latency-bound",
    default=10.0,
    show_default=True,
    type=NumberRange(min=0, min_open=True),
    metavar="MS",
    help="Of the server scenario: 99 % of the flows are answered within it.",
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="OUT.html|.md|.json|.csv",
    type=FILE,
    help="Write every figure to a file as well; repeatable.",
)
@click.option("--force", is_flag=True, help="Write over existing reports.")
@click.option("--json", "json_wanted", is_flag=True, help="The figures as JSON.")
@click.option(
    "--compare",
    "compared",
    nargs=2,
    metavar="OLD.json NEW.json",
    type=FILE,
    help="Measure nothing; compare two reports.",
)
@click.option(
    "--max-regression",
    default=5.0,
    show_default=True,
    type=NumberRange(min=0),
    metavar="PERCENT",
    help="With --compare: exit 3 where a throughput falls by more, beyond the noise.",
)
@click.pass_context
def command(
    ctx: click.Context,
    bundle: str,
    flows: str | None,
    quick: bool,
    latency_bound: float,
    reports: tuple[str, ...],
    force: bool,
    json_wanted: bool,
    compared: tuple[str, str] | None,
    max_regression: float,
) -> None:
    """Measure every backend and precision on this machine, beside other libraries, and recommend one.

    What other libraries are compared needs the extra: pip install 'etcc-edge[bench]'. The recommendation is kept for
    `infer --backend auto`. Ctrl-C keeps what was measured.

    \b
    Examples:
      etcc-edge bench --quick
      etcc-edge bench --flows flows.csv --report report.html --report report.json
      etcc-edge bench --compare old.json new.json --max-regression 10
    """
    if compared:
        _compare(ctx, *compared, max_regression)
        return
    check_reports(reports, FORMATS, (flows,), force=force)
    bench = Bench(BenchPlan(bundle, flows, QUICK if quick else FULL, latency_bound / 1000, command=as_typed()))
    try:
        with step_progress() as progress:
            bench.run(progress)
    finally:
        if bench.report and bench.report.measurements:
            for path in reports:
                write(path, bench.report)
            _show(bench.report, json_wanted)


def _show(report: Report, json_wanted: bool) -> None:
    for line in cautions(report):
        note(line)
    if json_wanted:
        click.echo(as_json(report))
        return
    note(
        "flows/s: all flows in one call, on all threads; p50 and p99: µs of one flow alone; file to file: flows/s of a "
        "whole process; right: both labels; drift: points of accuracy from fp32"
    )
    table = summary(report, short=True)
    print_table(table.head, table.rows)
    for line in recommended(report):
        click.echo(line)


def _compare(ctx: click.Context, old: str, new: str, max_regression: float) -> None:
    before, after = read(old), read(new)
    for line in differences(before, after):
        note(line)
    rows = changes(before, after, max_regression)
    table = change_table(rows)
    with shown():
        print_table([name for _, name in table.columns], table.rows)
    if regressions := sum(row.regressed for row in rows):
        note(f"{regressions} of {len(rows)} figures have regressed")
        ctx.exit(REGRESSED)
