"""``etcc-edge train``"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import click

from etcc_edge.bundle.model import VIEWS
from etcc_edge.bundle.store import check_target, save_bundle
from etcc_edge.cli.labelled import MORE_CAPTURES, captures_option, check_is_no_input, check_source, read_labelled_flows
from etcc_edge.cli.terminal import (
    FILE,
    NumberRange,
    as_typed,
    line_progress,
    note,
    print_table,
    test_share_option,
)
from etcc_edge.errors import EtccError
from etcc_edge.evaluation.result import from_json
from etcc_edge.evaluation.tables import score_rows
from etcc_edge.flows.dialect import Reading
from etcc_edge.flows.features import PRESETS, features, preset
from etcc_edge.flows.names import one_line
from etcc_edge.flows.open import open_flows
from etcc_edge.meter import PROFILES
from etcc_edge.meter.capture import default_timeout
from etcc_edge.meter.labelled import CaptureTable

COLLAPSED = 3
"""The exit status where a network gives one label to nearly all test flows."""


@click.command()
@click.argument("flows", nargs=-1, type=FILE)
@captures_option
@click.option("-o", "--output", required=True, metavar="BUNDLE", type=FILE, help="Folder, or a name ending in .zip.")
@click.option(
    "--recipe", default="default", show_default=True, type=click.Choice(["default", "distilled", "paper", "wire"])
)
@click.option("--network", default="cnn", show_default=True, type=click.Choice(["cnn", "lstm"]))
@click.option(
    "--features",
    "wanted",
    metavar="PRESET|FILE",
    type=FILE,
    help=f"One of {', '.join(PRESETS)}, or a file with a canonical name a line. Default: time for ISCX 2016 time "
    "files, else paper.",
)
@click.option("--protocol-column", metavar="C", help="Header name of the true protocol; a second X is X.1.")
@click.option("--application-column", metavar="C", help="Header name of the true application.")
@click.option(
    "--applications",
    default="services",
    show_default=True,
    type=click.Choice(["services", "all", "paper"]),
    help="services: all, learnt from the flows that are none of a background service; those get its name. all and "
    "paper: all or the paper's five, learnt from all flows.",
)
@click.option("--split", default="random", show_default=True, type=click.Choice(["random", "flow-id", "session"]))
@test_share_option
@click.option(
    "--validation",
    type=click.Choice(["random", "flow-id", "session"]),
    help="How the flows that fit confidences and thresholds are split off. Default: like the test flows.",
)
@click.option(
    "--groups",
    multiple=True,
    metavar="FILE",
    type=FILE,
    help="The name of each flow's capture, line by line; of several FLOWS, one --groups each, in their order.",
)
@click.option(
    "--leave-one-out", is_flag=True, help="Measure how unknown protocols are met: train without each in turn."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1))
@click.option(
    "--timeout",
    type=NumberRange(min=0, min_open=True),
    help="Flow timeout of the meter in seconds: of captures that by which they are cut, else for the record. Default: "
    "the profile's, 15 for ISCX 2016 time files, else 120.",
)
@click.option(
    "--profile", type=click.Choice(PROFILES), help=f"How captures are cut into flows. Default: {PROFILES[0]}."
)
@click.option(
    "--cross-fit",
    is_flag=True,
    help="Fit confidences on sessions left out of five more trainings, instead of those that validate.",
)
@click.option(
    "--view",
    type=click.Choice(list(VIEWS)),
    help="Where VPN flows were captured: inside a tunnel, on its interface, or on the wire. For the record.",
)
@click.option(
    "--citations",
    metavar="FILE",
    type=FILE,
    help="What users of the flows owe, a citation a line. Default: the method's.",
)
@click.option("--license", "licence", default="not stated", show_default=True, help="Of the weights, for the record.")
@click.option("--name", help="The bundle's name. Default: OUTPUT's.")
@click.option("--force", is_flag=True, help="Replace an existing bundle, and take one that has learnt nothing.")
@click.pass_context
def command(
    ctx: click.Context,
    flows: tuple[str, ...],
    captures: str | None,
    output: str,
    recipe: str,
    network: str,
    wanted: str | None,
    protocol_column: str | None,
    application_column: str | None,
    applications: str,
    split: str,
    test_share: float,
    validation: str | None,
    groups: tuple[str, ...],
    leave_one_out: bool,
    seed: int,
    timeout: float | None,
    profile: str | None,
    cross_fit: bool,
    view: str | None,
    citations: str | None,
    licence: str,
    name: str | None,
    force: bool,
) -> None:
    """Train, export and measure a bundle on the labelled flows of FLOWS, one or several files, or of captures.

    CICDarknet2020's Darknet.CSV trains as downloaded. Exit status 3: a network gives one label to nearly all test
    flows. Needs the extra: pip install 'etcc-edge[train]'.

    \b
    Examples:
      etcc-edge train Darknet.CSV -o my-bundle
      etcc-edge train Darknet.CSV -o paper.zip --recipe paper --network lstm
      etcc-edge train a.csv b.csv --groups a.txt --groups b.txt --split session -o my-bundle
      etcc-edge train --captures captures.csv --split session -o my-bundle
    """
    try:
        from etcc_edge.training.card import collapses, training_notes, weak
        from etcc_edge.training.plan import Plan, Usual, check_feature_count, check_plan
        from etcc_edge.training.stage import other_applications
        from etcc_edge.training.train import train
    except ImportError as error:
        raise EtccError(f"training needs {error.name}: pip install 'etcc-edge[train]'") from error
    target = Path(output)
    if target.exists() and not force:
        raise click.UsageError(f"{target} exists already; use --force to replace it")
    check_source(flows, captures, columns=protocol_column or application_column or groups, profile=profile)
    if len(groups) > len(flows):
        raise click.UsageError(f"{len(groups)} --groups for {len(flows)} files")
    labelled_captures = CaptureTable(captures) if captures else None
    check_is_no_input(target, (*flows, *groups, captures, wanted, citations), labelled_captures)
    check_target(target, force=force)
    profile = profile or PROFILES[0]
    if labelled_captures:
        with labelled_captures.open(profile) as source:
            reading: Reading | None = source.reading
    else:
        # A pipe is read once, so nothing is known of it before.
        reading = _reading(flows[0]) if Path(flows[0]).is_file() else None
    usual = Usual.of(reading.dialect.name) if reading else Usual()
    if labelled_captures:
        usual = replace(usual, timeout_s=default_timeout(profile))
    plan = Plan(
        name=one_line(name or target.stem),
        recipe=recipe,
        network=network,
        split=split,
        test_share=test_share,
        validation=validation,
        leave_one_out=leave_one_out,
        seed=seed,
        timeout_s=usual.timeout_s if timeout is None else timeout,
        view=view or "",
        cross_fit=cross_fit,
        citations=tuple(_lines(citations)) if citations is not None else Plan.citations,
        license=licence,
        applications=applications,
        command=as_typed(),
    )
    check_plan(plan)
    chosen = _feature_list(wanted or usual.features)
    names: list[str] = []
    if reading:
        names = preset(chosen, list(reading.columns)) if isinstance(chosen, str) else chosen
        check_feature_count(plan, len(names))
        inferred = [f"--features {usual.features}"] if wanted is None else []
        inferred += [f"--timeout {usual.timeout_s:g}"] if timeout is None else []
        if inferred and flows and usual != Usual():
            note(f"{flows[0]}: {reading.dialect.name} flows, so {' '.join(inferred)} unless you say otherwise")
    with line_progress() as tell:
        labelled = read_labelled_flows(
            flows,
            labelled_captures,
            chosen,
            (profile, plan.timeout_s),
            protocol_column=protocol_column,
            application_column=application_column,
            groups=groups,
            tell=tell,
        )
    if isinstance(chosen, str) and (lacking := [name for name in names if name not in labelled.feature_names]):
        note(f"features left out, as not all files have them: {', '.join(lacking)}")
    if applications == "paper" and (others := other_applications(labelled)):
        counts = ", ".join(f"{application} ({count} flows)" for application, count in others.items())
        note(f"{labelled.name}: --applications paper leaves out {counts}")
    with line_progress() as tell:
        bundle = train(labelled, plan, tell)
    save_bundle(bundle, target, force=force)
    for line in training_notes(bundle):
        note(line)
    test = from_json(bundle.metrics["test"])
    table = score_rows([test], sign=" %")
    head = ["test rows", "flows", "accuracy", "precision", "recall", "F1"]
    print_table(head, table, title=f"{bundle.name}, {split} split, seed {seed}")
    note(f"wrote {target}; its figures: etcc-edge info {shlex.quote(str(target))} --card")
    for line in weak(test):
        note(f"WARNING: {line}. {MORE_CAPTURES}")
    if failures := collapses(test):
        for line in failures:
            note(f"WARNING: {line}; do not use this bundle. Another recipe, seed or more flows may help")
        if not force:
            ctx.exit(COLLAPSED)


def _reading(flows: str) -> Reading:
    with open_flows(flows) as file:
        return file.reading


def _lines(path: str) -> list[str]:
    try:
        return [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise EtccError(f"{path}: cannot be read: {error}") from error


def _feature_list(wanted: str) -> str | list[str]:
    """A preset's name, or the names in a file. Raises EtccError for a name that is no feature."""
    if wanted in PRESETS:
        return wanted
    if not Path(wanted).exists():
        raise EtccError(f"{wanted!r} is neither a preset ({', '.join(PRESETS)}) nor a file")
    lines = _lines(wanted)
    if unknown := [line for line in lines if line not in features()]:
        raise EtccError(f"{wanted}: {unknown[0]!r} is no feature; the canonical names are those of `etcc-edge info`")
    return list(dict.fromkeys(lines))
