"""A flows file to its labelled file: picks the bundle, labels, writes, and counts what it met."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from etcc_edge.arrays import I64, U8
from etcc_edge.bundle.fit import pick_bundle
from etcc_edge.flows.text.reader import FlowBatch, FlowFile
from etcc_edge.flows.text.writer import LabelWriter, open_output
from etcc_edge.infer.classifier import Classifier
from etcc_edge.infer.threads import in_order, usable_cpus

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
    unknown: int | None = None  # unlike the trained protocols; None where the bundle has no threshold
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Part:
    """What became of one batch. ``tally``: flows by the codes of the first two levels; code -1 counts in the last row
    and column."""

    lines: U8
    tally: I64
    without_values: int = 0
    outside_range: int = 0
    unknown: int = 0

    def add(self, other: _Part) -> None:
        """Counts another batch's flows as well."""
        self.tally += other.tally
        self.without_values += other.without_values
        self.outside_range += other.outside_range
        self.unknown += other.unknown


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
    keep_columns: bool = True,
    strict: bool = False,
    started: Callable[[Summary], None] = lambda _: None,
    progress: Callable[[int, int | None], None] = lambda *_: None,
) -> Summary:
    """Labels a whole file, in ``threads`` threads (the CPUs that this process may use). Applications whose pair of
    labels is less sure than ``min_confidence`` stay empty. ``started`` gets the choices made, ``progress`` the input's
    position and size."""
    with FlowFile(path) as file:
        chosen, reason = pick_bundle(file, bundle)
        # Batches overlap instead, each in one thread from bytes to labelled lines.
        classifier = Classifier(chosen, backend=backend, precision=precision, batch_size=batch_size, threads=1)
        classifier.open()
        summary = Summary(
            input=file.name,
            output=os.fspath(output),
            bundle=chosen.name,
            bundle_reason=reason,
            timeout_s=chosen.flow_definition.timeout_s,
            backend=classifier.choice.backend,
            precision=classifier.choice.precision,
            backend_reason=classifier.choice.reason,
            dialect=file.reading.dialect.name,
            time_unit=file.reading.time_unit,
            notes=list(file.reading.notes),
        )
        if chosen.flow_definition.meter != file.reading.dialect.meter:
            summary.notes.append(
                f"bundle {chosen.name} was trained on {chosen.flow_definition.meter} flows of "
                f"{chosen.flow_definition.timeout_s:g} s, these are {file.reading.dialect.meter}'s: expect wrong labels"
            )
        judges = classifier.choice.precision in chosen.root.thresholds
        if not judges:
            summary.notes.append(
                f"bundle {chosen.name} has no threshold for unknown protocols at {classifier.choice.precision}: "
                "etcc_known stays empty"
            )
        started(summary)
        vocabulary = chosen.vocabulary()
        total = _Part(np.zeros(0, np.uint8), np.zeros([len(names) + 1 for names in vocabulary[:2]], np.int64))
        with open_output(output) as out:
            writer = LabelWriter(out, file.header, chosen.levels, vocabulary, keep_columns=keep_columns)

            def label(parse: Callable[[], FlowBatch]) -> _Part:
                batch = parse()
                result = classifier.label(batch)
                known = classifier.known(result)
                result = result.at_least(min_confidence)
                part = _Part(writer.format(batch, result.codes, result.confidence, known), np.zeros_like(total.tally))
                np.add.at(part.tally, tuple(result.codes[: part.tally.ndim]), 1)
                readable = batch.status == 0
                part.without_values = int((readable & np.isnan(batch.features).all(axis=1)).sum())
                part.outside_range = int(chosen.root.scaler.outside(batch.features)[readable].sum())
                part.unknown = int((known == 0).sum())
                return part

            batches = file.unparsed_batches(chosen.features, strict=strict)
            with contextlib.closing(in_order(label, batches, threads or usable_cpus())) as parts:
                for part in parts:
                    writer.write(part.lines)
                    total.add(part)
                    progress(file.position(), file.size)
        summary.flows = file.counts.rows
        summary.outside_range = total.outside_range
        summary.unknown = total.unknown if judges else None
        summary.rows = {**vars(file.counts), "without_values": total.without_values}
        summary.counts = _named(total.tally, vocabulary)
        labelled = file.counts.rows - file.counts.unlabelled
        if summary.outside_range > OUTSIDE_WARNING_SHARE * labelled:
            summary.notes.append(
                f"{summary.outside_range} of {labelled} flows lie outside the range that bundle {chosen.name} was "
                "trained on: its labels for them are guesses"
            )
        return summary


def _named(tally: I64, vocabulary: tuple[tuple[str, ...], ...]) -> dict[str, dict[str, int]]:
    table = tally.reshape(len(tally), -1)
    inner = [*vocabulary[1], ""] if len(vocabulary) > 1 else [""]
    named = {
        outer: {name: int(n) for name, n in zip(inner, row, strict=True) if n}
        for outer, row in zip([*vocabulary[0], ""], table, strict=True)
    }
    return {outer: row for outer, row in named.items() if row}
