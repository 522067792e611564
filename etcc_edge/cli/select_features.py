"""``etcc-edge select-features``"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from etcc_edge.cli.terminal import FILE, is_among, note, print_table, status, test_share_option
from etcc_edge.errors import EtccError
from etcc_edge.flows.features import PRESETS
from etcc_edge.flows.stream import STDIN
from etcc_edge.flows.text.writer import open_output
from etcc_edge.reports.numbers import percent


@click.command()
@click.argument("flows", type=FILE)
@click.option("-k", "size", default=41, show_default=True, type=click.IntRange(1), help="Features to choose.")
@click.option(
    "-o", "--output", required=True, metavar="FILE", type=FILE, help="A canonical name a line, in order of choice."
)
@click.option(
    "--candidates",
    default="all",
    show_default=True,
    type=click.Choice(list(PRESETS)),
    help="Features to choose from. Identifiers and absolute times are never among them.",
)
@click.option(
    "--target",
    default="protocol",
    show_default=True,
    type=click.Choice(["protocol", "application", "both"]),
    help="What the features are to tell.",
)
@click.option("--protocol-column", metavar="C", help="Header name of the true protocol; a second X is X.1.")
@click.option("--application-column", metavar="C", help="Header name of the true application.")
@click.option(
    "--applications",
    default="paper",
    show_default=True,
    type=click.Choice(["paper", "all"]),
    help="Flows that count where the target is an application.",
)
@click.option("--split", default="random", show_default=True, type=click.Choice(["random", "flow-id", "session"]))
@test_share_option
@click.option("--groups", metavar="FILE", type=FILE, help="The name of each flow's capture, line by line.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1))
@click.option("--force", is_flag=True, help="Write over an existing file.")
@click.option("--json", "as_json", is_flag=True, help="The choice, and the accuracy at each size, as JSON.")
def command(
    flows: str,
    size: int,
    output: str,
    candidates: str,
    target: str,
    protocol_column: str | None,
    application_column: str | None,
    applications: str,
    split: str,
    test_share: float,
    groups: str | None,
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Choose features for `train --features FILE` by sequential forward floating selection.

    Sets of features are compared by a small forest's accuracy on training rows alone: `train` with the same
    --split, --test-share, --groups and --seed tests on none of them. An interrupted search is kept in
    FILE.unfinished; the same command goes on from there. Needs the extra: pip install 'etcc-edge[train]'.

    \b
    Examples:
      etcc-edge select-features Darknet.CSV -o features.txt
      etcc-edge select-features flows.csv -k 20 --candidates no-ports --target both -o features.txt --json
    """
    try:
        from etcc_edge.flows.truth import read_labelled
        from etcc_edge.training.selection import Goal, select_features
    except ImportError as error:
        raise EtccError(f"choosing features needs {error.name}: pip install 'etcc-edge[train]'") from error
    if output == STDIN:
        raise click.UsageError("-o needs a file: an interrupted search is kept beside it")
    if Path(output).is_dir():
        raise click.UsageError(f"-o {output} is a folder; name a file")
    if is_among(output, (flows, groups)):
        raise click.UsageError(f"-o {output} is a file that is read; name another")
    if Path(output).exists() and not force:
        raise click.UsageError(f"{output} exists already; use --force to write over it")
    if (groups is not None) != (split == "session"):
        raise click.UsageError("--groups FILE and --split session go together")
    goal = Goal(target, applications, split, test_share, seed)
    state = Path(f"{output}.unfinished")
    with status() as tell:
        tell(f"reading {flows}")
        labelled = read_labelled(
            flows,
            candidates,
            protocol_column=protocol_column,
            application_column=application_column,
            groups=groups,
            to_split=True,
        )
        try:
            chosen = select_features(labelled, size, goal, state=state, tell=tell)
        except KeyboardInterrupt:
            note(f"the scores so far are in {state}; the same command goes on from there")
            raise
    with open_output(output) as out:
        out.write("".join(f"{name}\n" for name in chosen.features).encode())
    state.unlink(missing_ok=True)
    if as_json:
        click.echo(json.dumps(asdict(chosen), indent=1))
        return
    rows = [[str(s.size), percent(s.accuracy, " %"), ", ".join(s.added), ", ".join(s.dropped)] for s in chosen.steps]
    print_table(["features", "accuracy", "added", "dropped"], rows, title=f"{target}, on training rows held back")
    note(f"wrote {output}: {size} of {chosen.candidates} features; {len(chosen.constant)} more have one value only")
