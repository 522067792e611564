"""The first flows of a file with their labels, as a table that fits the terminal."""

from __future__ import annotations

import itertools
import shutil

from etcc_edge.bundle.fit import pick_bundle, why_bundle_does_not_fit
from etcc_edge.cli.terminal import note, print_table
from etcc_edge.flows.batch import Batch
from etcc_edge.flows.text.reader import FlowFile
from etcc_edge.infer.classifier import Classifier

_FEWEST_CHARACTERS = 8  # of a cell that was cut
_BETWEEN_COLUMNS = 3  # characters, on a terminal

Column = tuple[str, list[str]]  # its head and its cells


def print_preview(
    path: str, rows: int, *, bundle: str, backend: str, precision: str, min_confidence: float, one_of_several: bool
) -> None:
    """Labels the first ``rows`` flows of a file and prints what identifies each, then its labels with their
    confidences. Raises FlowsError, BundleError, BackendError."""
    with FlowFile(path) as file:
        chosen, reason = pick_bundle(file, bundle)
        classifier = Classifier(chosen, backend=backend, precision=precision, threads=1)
        identity = _identity_columns(file)
        texts = sorted({column for columns in identity.values() for column in columns})
        shown: dict[str, list[str]] = {head: [] for head in identity}
        labels: dict[str, list[str]] = {f"etcc_{level}": [] for level in chosen.levels}
        left = rows
        for batch in file.batches(chosen.features, texts):
            for head, columns in identity.items():
                shown[head] += _joined(batch, [texts.index(column) for column in columns])[:left]
            result = classifier.label(batch).at_least(min_confidence)
            for level, confidence in zip(chosen.levels, result.confidence, strict=True):
                labels[f"etcc_{level}"] += [
                    f"{name} {sure:.2f}" if name else ""
                    for name, sure in itertools.islice(zip(result.labels(level), confidence, strict=True), left)
                ]
            left -= min(left, len(batch))
            if not left:
                break
        choice = classifier.choice
        note(f"{file.name}: {file.form} flows; bundle {chosen.name} ({reason}); {choice.backend} at {choice.precision}")
        if misfit := why_bundle_does_not_fit(chosen, file):
            note(f"{file.name}: warning: bundle {chosen.name} {misfit}: expect wrong labels")
    table = _fitted(list(shown.items()), list(labels.items()), shutil.get_terminal_size().columns)
    lines = [list(line) for line in zip(*(cells for _, cells in table), strict=True)]
    print_table([head for head, _ in table], lines, title=file.name, one_of_several=one_of_several)


def _identity_columns(file: FlowFile) -> dict[str, list[int]]:
    """Head to the columns that its cells are joined of, the most telling first."""
    names, ports = file.identifiers, file.reading.columns
    columns = {
        head: [names[end], *([ports[port]] if port in ports else [])]
        for head, end, port in (("source", "source", "src_port"), ("destination", "destination", "dst_port"))
        if end in names
    }
    if not columns and "flow_id" in names:
        columns["flow"] = [names["flow_id"]]
    if "time" in names:
        columns["time"] = [names["time"]]
    return columns


def _joined(batch: Batch, texts: list[int]) -> list[str]:
    """An address and its port with a colon. What a terminal would obey is not shown."""
    cells = zip(*(batch.text(text) for text in texts), strict=True)
    return ["".join(c if c.isprintable() else "\ufffd" for c in ":".join(filter(None, row))) for row in cells]


def _fitted(identity: list[Column], labels: list[Column], width: int) -> list[Column]:
    """The columns that fit: of the identity first the last ones go, then the rest is cut."""

    def room() -> int:
        """What is left for the identity's cells."""
        return width - 1 - sum(map(_width, labels)) - _BETWEEN_COLUMNS * (len(labels) + len(identity))

    while len(identity) > 2 and sum(map(_width, identity)) > room():
        identity = identity[:-1]
    if identity and sum(map(_width, identity)) > room():
        most = max(_FEWEST_CHARACTERS, room() // len(identity))
        identity = [(_cut(head, most), [_cut(cell, most) for cell in cells]) for head, cells in identity]
    return [*identity, *labels]


def _width(column: Column) -> int:
    head, cells = column
    return max(map(len, [head, *cells]))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
