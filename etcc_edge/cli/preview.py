"""The first flows of a file with their labels, as a table that fits the terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from etcc_edge.cli.terminal import note, print_table
from etcc_edge.flows.unlabelled import in_words, reasons_in
from etcc_edge.infer.classifier import Classifier
from etcc_edge.infer.source import misfits, open_source, pick

_FEWEST_CHARACTERS = 8  # of a cell that was cut

# What identifies a flow, a tuple a column, in forms that need less and less room.
_BY_ENDS = (
    (("source", "src_port"), ("destination", "dst_port"), ("time",)),
    (("source", "src_port"), ("destination", "dst_port")),
    (("source",), ("destination",)),
)
_BY_NAME = ((("flow_id",), ("time",)), (("flow_id",),))

Column = tuple[str, list[str]]  # its head and its cells


def print_preview(
    path: str,
    rows: int,
    *,
    bundle: str,
    view: str | None,
    backend: str,
    precision: str,
    min_confidence: float | None,
    profile: str | None,
    timeout: float | None,
    one_of_several: bool,
) -> None:
    """Labels the first ``rows`` flows of a file or capture and prints what identifies each, then its labels with their
    confidences. Raises FlowsError, BundleError, BackendError."""
    with open_source(path, profile=profile, timeout=timeout) as file:
        chosen, reason = pick(file, bundle, view)
        classifier = Classifier(chosen, backend=backend, precision=precision, threads=1, min_confidence=min_confidence)
        choice = classifier.choice
        names = {name: file.reading.columns[name] for name in ("src_port", "dst_port") if name in file.reading.columns}
        names.update(file.identifiers)
        identity: dict[str, list[str]] = {name: [] for name in names}
        labels: dict[str, list[str]] = {level: [] for level in chosen.levels}
        reasons: dict[str, int] = {}
        left = rows
        for batch in file.batches(chosen.features, list(names.values())):
            for column, cells in enumerate(identity.values()):
                cells += batch.text(column)[:left]
            result = classifier.given(classifier.label(batch))
            for cells, level, confidence in zip(labels.values(), chosen.levels, result.confidence, strict=True):
                pairs = list(zip(result.labels(level), confidence, strict=True))[:left]
                cells += [f"{name} {sure:.2f}" if name else "" for name, sure in pairs]
            for reason, n in reasons_in(batch, left).items():
                reasons[reason] = reasons.get(reason, 0) + n
            left -= min(left, len(batch))
            if not left:
                break
        note(f"{file.name}: {file.form} flows; bundle {chosen.name} ({reason}); {choice.backend} at {choice.precision}")
        for misfit in misfits(file, chosen):
            note(f"{file.name}: warning: {misfit}")
        if reasons:
            note(f"{file.name}: {in_words(rows - left, reasons)}")
    table = _fitted(identity, [(f"etcc_{level}", cells) for level, cells in labels.items()])
    lines = [list(line) for line in zip(*(cells for _, cells in table), strict=True)]
    print_table([head for head, _ in table], lines, title=file.name, one_of_several=one_of_several)


def _fitted(identity: dict[str, list[str]], labels: list[Column]) -> list[Column]:
    """As much of the identity as fits before the labels: without the time, then without ports, then cut."""
    forms = _BY_ENDS if "source" in identity or "destination" in identity else _BY_NAME
    choices = [[_joined(identity, parts) for parts in form if parts[0] in identity] for form in forms]
    rule, around = (3, 1) if sys.stdout.isatty() else (2, -2)
    width = shutil.get_terminal_size().columns - around
    for columns in choices:
        if sum(_width(column) + rule for column in [*columns, *labels]) <= width:
            return [*columns, *labels]
    columns = choices[-1]
    left = width - sum(_width(column) + rule for column in labels) - rule * len(columns)
    most = max(_FEWEST_CHARACTERS, left // max(1, len(columns)))
    return [*((_cut(head, most), [_cut(cell, most) for cell in cells]) for head, cells in columns), *labels]


def _joined(identity: dict[str, list[str]], parts: Sequence[str]) -> Column:
    """An address and its port with a colon. What a terminal would obey is not shown."""
    cells = zip(*(identity[part] for part in parts if part in identity), strict=True)
    shown = ["".join(c if c.isprintable() else "\ufffd" for c in ":".join(filter(None, row))) for row in cells]
    return "flow" if parts[0] == "flow_id" else parts[0], shown


def _width(column: Column) -> int:
    head, cells = column
    return max(map(len, [head, *cells]))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
