"""A flows file to its labelled file: picks the bundle, labels, writes, and counts what it met."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from etcc_edge.arrays import I64
from etcc_edge.bundle.fit import pick_bundle
from etcc_edge.flows.text.columns import ALL, kept_columns
from etcc_edge.flows.text.reader import FlowFile
from etcc_edge.flows.text.writer import LabelWriter, open_output
from etcc_edge.infer.classifier import Classifier
from etcc_edge.infer.pipeline import label_flows

# Beyond this share of flows outside the trained range, the answers are guesses.
OUTSIDE_WARNING_SHARE = 0.05


@dataclass
class Summary:
    """What `label_file` did. ``counts``: flows by protocol and application, empty names where there was none."""

    input: str
    output: str
    bundle: str
    bundle_reason: str
    timeout_s: float  # of the flows that the bundle was trained on
    backend: str
    precision: str
    backend_reason: str
    dialect: str
    time_unit: str
    flows: int = 0
    outside_range: int = 0
    unknown: int | None = None  # unlike the trained protocols; None where that was not asked for or cannot be said
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    relations: list[str] = field(default_factory=list)  # that every flow was checked for
    contradiction: str = ""  # why the labels are not to be trusted: too many flows break a relation
    notes: list[str] = field(default_factory=list)


def label_file(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    bundle: str = "auto",
    backend: str = "auto",
    precision: str = "auto",
    batch_size: int = 1024,
    threads: int | None = None,
    min_confidence: float = 0.0,
    known: bool = False,
    columns: str = ALL,
    strict: bool = False,
    started: Callable[[Summary], None] = lambda _: None,
    progress: Callable[[int, int | None], None] = lambda *_: None,
) -> Summary:
    """Labels a whole file, as `label_flows` does. ``known`` adds the column ``etcc_known``; ``columns`` says which of
    the input's own are kept, as `kept_columns` takes it. ``started`` gets the choices made, ``progress`` the input's
    position and size.

    Raises FlowsError, BundleError, BackendError.
    """
    with FlowFile(path) as file:
        kept = kept_columns(file, columns)
        chosen, reason = pick_bundle(file, bundle)
        # Batches overlap instead, each in one thread from bytes to labelled lines.
        classifier = Classifier(chosen, backend=backend, precision=precision, batch_size=batch_size, threads=1)
        classifier.open()
        definition, choice = chosen.flow_definition, classifier.choice
        summary = Summary(
            input=file.name,
            output=os.fspath(output),
            bundle=chosen.name,
            bundle_reason=reason,
            timeout_s=definition.timeout_s,
            backend=choice.backend,
            precision=choice.precision,
            backend_reason=choice.reason,
            dialect=file.reading.dialect.name,
            time_unit=file.reading.time_unit,
            relations=[relation.text for relation in file.relations],
            notes=list(file.reading.notes),
        )
        if file.meter not in ("", definition.meter):
            summary.notes.append(
                f"bundle {chosen.name} was trained on {definition.meter} flows of {definition.timeout_s:g} s, these "
                f"are {file.meter}'s: expect wrong labels"
            )
        knows = choice.precision in chosen.root.thresholds
        if known and not knows:
            summary.notes.append(
                f"bundle {chosen.name} has no threshold for unknown protocols at {choice.precision}: etcc_known stays "
                "empty"
            )
        started(summary)
        vocabulary = chosen.vocabulary()
        with open_output(output) as out:
            writer = LabelWriter(out, file.header, chosen.levels, vocabulary, known=known, columns=kept)
            tally = label_flows(
                file,
                writer,
                classifier,
                threads=threads,
                min_confidence=min_confidence,
                known=known,
                texts=kept or (),
                strict=strict,
                progress=progress,
            )
        summary.contradiction = file.contradiction()
    counts = file.counts
    summary.flows = counts.rows
    summary.outside_range = tally.outside_range
    summary.unknown = tally.unknown if known and knows else None
    summary.rows = {**vars(counts), "too_few_values": tally.too_few_values}
    summary.counts = _named(tally.labels, vocabulary)
    readable = counts.rows - counts.unlabelled
    if tally.outside_range > OUTSIDE_WARNING_SHARE * readable:
        summary.notes.append(
            f"{tally.outside_range} of {readable} flows lie outside the range that bundle {chosen.name} was trained "
            "on: its labels for them are guesses"
        )
    return summary


def _named(labels: I64, vocabulary: tuple[tuple[str, ...], ...]) -> dict[str, dict[str, int]]:
    table = labels.reshape(len(labels), -1)
    inner = [*vocabulary[1], ""] if len(vocabulary) > 1 else [""]
    named = {
        outer: {name: int(n) for name, n in zip(inner, row, strict=True) if n}
        for outer, row in zip([*vocabulary[0], ""], table, strict=True)
    }
    return {outer: row for outer, row in named.items() if row}
