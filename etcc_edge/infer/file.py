"""A flows file or a capture to its labelled file: picks the bundle, labels, writes, and counts what it met."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from etcc_edge.arrays import I64
from etcc_edge.bundle.model import VIEWS
from etcc_edge.flows.names import one_line
from etcc_edge.flows.text.columns import ALL, KEY, kept_columns
from etcc_edge.flows.text.writer import open_output
from etcc_edge.flows.unlabelled import reasons_of, why_none
from etcc_edge.infer.classifier import Classifier
from etcc_edge.infer.pipeline import Tally, label_flows
from etcc_edge.infer.sink import open_sink
from etcc_edge.infer.source import Opened, misfits, open_source, pick
from etcc_edge.infer.windows import SumBy, WindowColumns, Windows, WindowWriter
from etcc_edge.meter import CaptureSource
from etcc_edge.meter.source import VERDICT, After

# Beyond this share of flows outside the trained range, the answers are guesses.
OUTSIDE_WARNING_SHARE = 0.05


@dataclass
class WindowCounts:
    """The windows written to ``output``, and the flows that came too late for theirs or whose time cannot be read."""

    output: str
    windows: int = 0
    late_flows: int = 0
    without_time: int = 0


@dataclass
class Summary:
    """What `label_file` did. ``counts``: flows by protocol and application, empty names where there was none."""

    input: str
    output: str
    bundle: str
    bundle_reason: str
    timeout_s: float  # of the flows that the bundle was trained on
    view: str  # what the bundle's label VPN means (`VIEWS`), empty where it does not say
    min_confidence: float  # below it applications stay empty
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
    unlabelled: str = ""  # why no row has a label, where none has
    capture: dict[str, Any] | None = None  # what the meter met; None for a flows file
    damage: str = ""  # what ended a capture early
    windows: WindowCounts | None = None  # of evidence summed; None where that was not asked for
    notes: list[str] = field(default_factory=list)


def label_file(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    bundle: str = "auto",
    view: str | None = None,
    backend: str = "auto",
    precision: str = "auto",
    batch_size: int = 1024,
    threads: int | None = None,
    min_confidence: float | None = None,
    known: bool = False,
    columns: str | None = None,
    profile: str | None = None,
    timeout: float | None = None,
    after: After | None = None,
    strict: bool = False,
    sum_by: SumBy | None = None,
    windows: str | os.PathLike[str] = "",
    started: Callable[[Summary], None] = lambda _: None,
    progress: Callable[[int, int | None], None] = lambda *_: None,
) -> Summary:
    """Labels a whole flows file or capture, as `label_flows` does. ``view``: as `pick_bundle` takes it. ``known`` adds
    the column ``etcc_known``; ``columns`` says which of the input's own are kept, as `kept_columns` takes it, by
    default all of a file and the key of a capture. ``profile`` and ``timeout``, in seconds, say how a capture is cut
    into flows, by default as the bundle's were; with ``after``, an early row comes before that of a flow. With
    ``sum_by``, evidence is summed into a second file, ``windows``. ``started`` gets the choices made, ``progress`` the
    input's position and size.

    Of a damaged capture, the flows up to there are labelled, and ``Summary.damage`` says what is wrong. Raises
    FlowsError, BundleError, BackendError.
    """
    with open_source(path, profile=profile, timeout=timeout, after=after) as file:
        is_capture = isinstance(file, CaptureSource)
        chosen, reason = pick(file, bundle, view)
        kept = kept_columns(file, columns or (KEY if is_capture else ALL))
        if is_capture and after and kept is not None and (verdict := file.columns.index(VERDICT)) not in kept:
            kept += (verdict,)
        # Batches overlap instead, each in one thread from bytes to labelled lines.
        classifier = Classifier(
            chosen,
            backend=backend,
            precision=precision,
            batch_size=batch_size,
            threads=1,
            min_confidence=min_confidence,
        )
        classifier.open()
        summary = _begun(file, one_line(output), classifier, reason)
        if not is_capture and (profile or timeout or after):
            summary.notes.append("--profile, --timeout and --after are for captures: not used")
        knows = classifier.choice.precision in chosen.root.thresholds
        if known and not knows:
            summary.notes.append(
                f"bundle {chosen.name} has no threshold for unknown protocols at {summary.precision}: etcc_known stays "
                "empty"
            )
        started(summary)
        vocabulary = chosen.vocabulary()
        services = [service.name for service in chosen.services]
        with contextlib.ExitStack() as outputs:
            sink, texts = outputs.enter_context(open_sink(output, file, kept, chosen, known=known))
            summed = WindowColumns(sum_by, file, services, texts) if sum_by else None
            sums = Windows(vocabulary)
            if sum_by:
                window_writer = WindowWriter(outputs.enter_context(open_output(windows)), sum_by, chosen.levels)
            tally = label_flows(
                file,
                sink,
                classifier,
                threads=threads,
                known=known,
                texts=summed.texts if summed else texts,
                strict=strict,
                evidence=summed.evidence if summed else None,
                take_evidence=lambda part: window_writer.write(sums.add(part)),
                progress=progress,
            )
            if sum_by:
                window_writer.write(sums.rest())
                summary.windows = WindowCounts(one_line(windows), sums.given, sums.late_flows, sums.without_time)
                if sums.month_first:
                    summary.notes.append(
                        f"dates of {sums.month_first} flows put the month before the day, as in 7/13/2017; "
                        "dates that can be read either way were read with the day first, so flows may be in wrong "
                        "windows. Write the year first"
                    )
        _end(summary, file, tally, vocabulary)
    summary.unknown = tally.unknown if known and knows else None
    return summary


def _begun(file: Opened, output: str, classifier: Classifier, reason: str) -> Summary:
    """What is known before the first flow. ``reason``: of the choice of the bundle."""
    bundle, choice = classifier.bundle, classifier.choice
    return Summary(
        input=file.name,
        output=output,
        bundle=bundle.name,
        bundle_reason=reason,
        timeout_s=bundle.flow_definition.timeout_s,
        view=VIEWS.get(bundle.flow_definition.view, ""),
        min_confidence=classifier.min_confidence,
        backend=choice.backend,
        precision=choice.precision,
        backend_reason=choice.reason,
        dialect=file.form,
        time_unit=file.reading.time_unit,
        relations=[relation.text for relation in file.relations],
        notes=[*file.reading.notes, *misfits(file, bundle)],
        capture=file.summary() if isinstance(file, CaptureSource) else None,
    )


def _end(summary: Summary, file: Opened, tally: Tally, vocabulary: tuple[tuple[str, ...], ...]) -> None:
    """Adds what the flows have shown."""
    summary.contradiction = file.contradiction()
    if isinstance(file, CaptureSource):
        summary.damage = file.problem
        summary.capture = file.summary()
        if file.of_ip6:
            summary.notes.append(
                f"of the flows {file.of_ip6} are of IPv6: of the shipped bundles only wire learnt such ones"
            )
        if file.evicted:
            summary.notes.append(f"{file.evicted} flows ended early, since too many were open")
    counts = file.counts
    summary.flows = counts.rows
    summary.outside_range = tally.outside_range
    summary.rows = {**vars(counts), "too_few_values": tally.too_few_values}
    summary.unlabelled = why_none(counts.rows, reasons_of(counts, tally.too_few_values))
    summary.counts = _named(tally.labels, vocabulary)
    readable = counts.rows - counts.unlabelled
    if not counts.rows:
        summary.notes.append("no flows: there is nothing to label")
    if tally.outside_range > OUTSIDE_WARNING_SHARE * readable:
        summary.notes.append(
            f"{tally.outside_range} of {readable} flows lie outside the range that bundle {summary.bundle} was trained "
            "on: its labels for them are guesses"
        )


def _named(labels: I64, vocabulary: tuple[tuple[str, ...], ...]) -> dict[str, dict[str, int]]:
    table = labels.reshape(len(labels), -1)
    inner = [*vocabulary[1], ""] if len(vocabulary) > 1 else [""]
    named = {
        outer: {name: int(n) for name, n in zip(inner, row, strict=True) if n}
        for outer, row in zip([*vocabulary[0], ""], table, strict=True)
    }
    return {outer: row for outer, row in named.items() if row}
