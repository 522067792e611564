"""``etcc-edge adapt``"""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from etcc_edge.bundle.model import VIEWS
from etcc_edge.bundle.store import check_target, load_bundle, save_bundle
from etcc_edge.cli.labelled import MORE_CAPTURES, captures_option, check_is_no_input, check_source, read_labelled_flows
from etcc_edge.cli.terminal import FILE, as_typed, complete_bundles, line_progress, note, print_table
from etcc_edge.errors import EtccError
from etcc_edge.flows.names import one_line
from etcc_edge.infer.source import follow
from etcc_edge.meter.labelled import CaptureTable
from etcc_edge.reports.numbers import percent

NO_HELP = 3
"""The exit status where the new bundle labels the flows that were kept out no better than the old one."""


@click.command()
@click.argument("bundle", shell_complete=complete_bundles)
@click.argument("flows", nargs=-1, type=FILE)
@captures_option
@click.option("-o", "--output", required=True, metavar="NEW", type=FILE, help="Folder, or a name ending in .zip.")
@click.option("--protocol-column", metavar="C", help="Header name of the true protocol; a second X is X.1.")
@click.option("--application-column", metavar="C", help="Header name of the true application.")
@click.option(
    "--groups",
    multiple=True,
    metavar="FILE",
    type=FILE,
    help="The capture of each flow, line by line; once for each file.",
)
@click.option(
    "--split",
    type=click.Choice(["session", "flow-id", "random"]),
    help="How the flows that measure are kept out. Default: the first of these that the flows allow.",
)
@click.option(
    "--min-flows",
    default=10,
    show_default=True,
    type=click.IntRange(2, 10**6),
    help="Training flows that make a label unknown so far a class.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1))
@click.option(
    "--view",
    type=click.Choice(list(VIEWS)),
    help="Where VPN flows were captured: inside a tunnel, on its interface, or on the wire. For the record. Default: "
    "BUNDLE's.",
)
@click.option("--name", help="The bundle's name. Default: NEW's.")
@click.option("--force", is_flag=True, help="Replace an existing bundle, and keep one that does not help.")
@click.pass_context
def command(
    ctx: click.Context,
    bundle: str,
    flows: tuple[str, ...],
    captures: str | None,
    output: str,
    protocol_column: str | None,
    application_column: str | None,
    groups: tuple[str, ...],
    split: str | None,
    min_flows: int,
    seed: int,
    view: str | None,
    name: str | None,
    force: bool,
) -> None:
    """Teach BUNDLE your own labelled FLOWS or captures; it keeps what it knew. Labels new to it become classes.

    A part of the flows is kept out, to measure the old and the new bundle on. Exit status 3: the new one is no better
    on them, and is not written. Needs the extra: pip install 'etcc-edge[train]'.

    \b
    Examples:
      etcc-edge adapt default my-flows.csv -o my-bundle
      etcc-edge adapt default mon.csv tue.csv --groups mon.txt --groups tue.txt -o my-bundle
      etcc-edge adapt default --captures captures.csv -o my-bundle
    """
    try:
        from etcc_edge.training.adapt import adapt, split_kind
        from etcc_edge.training.card import known_before, training_notes, weak
        from etcc_edge.training.plan import Plan
    except ImportError as error:
        raise EtccError(f"adapting needs {error.name}: pip install 'etcc-edge[train]'") from error
    target = Path(output)
    check_source(flows, captures, columns=protocol_column or application_column or groups)
    if len(groups) > len(flows):
        raise click.UsageError(f"{len(groups)} --groups for {len(flows)} files")
    table, cut = CaptureTable(captures) if captures else None, ("", 0.0)
    check_is_no_input(target, (*flows, *groups, captures), table)
    check_target(target, force=force)
    old = load_bundle(bundle)
    if table:
        with table.open() as source:
            follow(source, old)
            cut = source.profile, source.timeout
    with line_progress() as tell:
        labelled = read_labelled_flows(
            flows,
            table,
            old.features,
            cut,
            protocol_column=protocol_column,
            application_column=application_column,
            groups=groups,
            tell=tell,
        )
        plan = Plan(
            name=one_line(name or target.stem),
            applications="all",
            split=split or split_kind(labelled),
            seed=seed,
            timeout_s=old.flow_definition.timeout_s,
            view=view or "",
            citations=old.citations,
            license=old.license,
            command=as_typed(),
        )
        adapted = adapt(old, labelled, plan, min_flows=min_flows, tell=tell)
    for line in training_notes(adapted.bundle):
        note(line)
    both = (adapted.before, adapted.after)
    shares: dict[str, list[float | None]] = {  # of all flows, also of those whose protocol one does not know
        "protocol right": [(one.protocol.accuracy or 0) * (one.coverage or 0) for one in both],
        "both labels right": [one.end_to_end.strict_accuracy for one in both],
        "foreground: application given": [one.foreground.given for one in both],
        "foreground: right where given": [one.foreground.given_accuracy for one in both],
    }
    rows = [[name, *(percent(share, sign=" %", none="none") for share in pair)] for name, pair in shares.items()]
    title = f"{adapted.after.flows} flows that were kept out ({plan.split} split, seed {seed})"
    print_table([title, old.name, plan.name], rows)
    note(f"on flows like those of {old.name}, {100 * adapted.kept:.1f} % of the labels are the same as before")
    for line in known_before(adapted.bundle.training):
        note(f"WARNING: {line}, so both columns flatter. Measure with flows that it has never seen")
    if timid := adapted.timid:
        note(f"WARNING: {timid}")
    for line in weak(adapted.after):
        note(f"WARNING: {line}. {MORE_CAPTURES}")
    if not (adapted.helped or force):
        note(f"Error: it labels no more of your flows right than {old.name}; not written. Take more flows, or --force")
        ctx.exit(NO_HELP)
    save_bundle(adapted.bundle, target, force=force)
    note(f"wrote {target}; its figures: etcc-edge info {shlex.quote(str(target))} --card")
