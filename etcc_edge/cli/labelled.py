"""Labelled flows, of files or of captures, as `train` and `adapt` read them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path

import click

from etcc_edge.cli.terminal import FILE, is_among, note
from etcc_edge.flows.truth import LabelledFlows, read_labelled_files
from etcc_edge.meter.labelled import CaptureTable

captures_option = click.option(
    "--captures",
    metavar="TABLE",
    type=FILE,
    help="Instead of FLOWS: a CSV with the columns capture, protocol and application. Captures are named relative to "
    "its folder.",
)

MORE_CAPTURES = "More captures of each pair of labels may help; look at the splits too (docs/train.md)"
"""What to do where a network is worse than its most frequent label."""


def check_source(flows: Sequence[str], captures: str | None, *, columns: object, profile: str | None = None) -> None:
    """Raises UsageError unless there are either flows files, each once, or a table of captures, with the options that
    are for them. ``columns``: what is for files alone."""
    if bool(flows) == bool(captures):
        raise click.UsageError("name either FLOWS or --captures TABLE")
    if captures and columns:
        raise click.UsageError("the table of --captures holds the labels; leave out columns of labels and --groups")
    if profile and not captures:
        raise click.UsageError("--profile is for captures; name them with --captures TABLE")
    for first, second in combinations(filter(os.path.exists, flows), 2):
        if os.path.samefile(first, second):
            again = "is given twice" if first == second else f"is the same file as {first}"
            raise click.UsageError(f"{second} {again}; name each file once")


def check_is_no_input(target: Path, inputs: Iterable[str | None], captures: CaptureTable | None) -> None:
    """Raises UsageError where the bundle would replace one of the ``inputs``, such as a capture of the table."""
    files = [Path(name) for name in inputs if name] + ([row.path for row in captures.rows] if captures else [])
    if is_among(target, files):
        raise click.UsageError(f"-o {target}: is an input; name another place")


def read_labelled_flows(
    flows: Sequence[str],
    captures: CaptureTable | None,
    features: str | Sequence[str],
    cut: tuple[str, float],
    *,
    protocol_column: str | None,
    application_column: str | None,
    groups: Sequence[str],
    tell: Callable[[str], None],
) -> LabelledFlows:
    """The flows of files, or of ``captures`` that are ``cut`` by this profile and timeout in seconds. Damaged captures
    are noted, and how much was read. Raises FlowsError."""
    if captures is None:
        tell(f"reading {', '.join(flows)}")
        labelled = read_labelled_files(
            flows,
            features,
            protocol_column=protocol_column,
            application_column=application_column,
            groups=groups,
            to_split=True,
        )
    else:
        labelled, damaged = captures.read(*cut, features, to_split=True, tell=tell)
        for line in damaged:
            note(f"warning: {line}")
    note(f"{labelled.name}: {_extent(labelled)}")
    return labelled


def _extent(labelled: LabelledFlows) -> str:
    text = f"flows: {len(labelled)}, without label or unreadable: {labelled.ignored}"
    if captures := len(set(labelled.capture.tolist()) - {""}):
        text += f"; captures: {captures}, sessions: {len(set(labelled.session.tolist()) - {''})}"
    return text
