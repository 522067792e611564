"""From a source of flows to a sink of labelled flows, whatever the two are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from etcc_edge.arrays import F32, I8, I32, I64
from etcc_edge.bundle.model import Bundle
from etcc_edge.engines.result import Result
from etcc_edge.flows.batch import Batch, BatchT, Source
from etcc_edge.infer.threads import in_order, usable_cpus
from etcc_edge.infer.windows import Evidence

BatchT_contra = TypeVar("BatchT_contra", bound=Batch, contravariant=True)


class Sink(Protocol[BatchT_contra]):
    """Where labelled flows go."""

    def format(self, batch: BatchT_contra, codes: I32, confidence: F32, known: I8 | None) -> Any:
        """A batch of n flows in the sink's own form, with its label codes and confidences, both [levels, n] (-1 and NaN
        without label), and whether its flows are known, [n] (`Result.known`), where that is wanted. Several threads may
        call it at once."""

    def write(self, formatted: Any) -> None:
        """Takes what `format` gave, in the order of the flows, in one thread."""

    def flush(self) -> None:
        """Sends on what was written: the source pauses."""


class Labeller(Protocol):
    """What labels flows: a `Classifier`."""

    bundle: Bundle
    threads: int

    def label(self, batch: Batch) -> Result:
        """Several threads may call it at once."""

    def known(self, result: Result) -> I8: ...

    def given(self, result: Result) -> Result: ...

    def with_threads(self, threads: int) -> Labeller: ...


@dataclass
class Tally:
    """What became of flows. ``labels``: int64, flows by the codes of the first two levels; code -1 counts in the last
    row and column. Early looks are no flows."""

    labels: I64
    too_few_values: int = 0
    outside_range: int = 0  # have a feature beyond the range that the bundle was trained on
    unknown: int = 0  # are unlike the trained protocols

    @classmethod
    def of(cls, vocabulary: tuple[tuple[str, ...], ...]) -> Tally:
        """Of no flow yet."""
        return cls(np.zeros([len(names) + 1 for names in vocabulary[:2]], np.int64))

    def add(self, other: Tally) -> None:
        """Counts another tally's flows as well."""
        self.labels += other.labels
        self.too_few_values += other.too_few_values
        self.outside_range += other.outside_range
        self.unknown += other.unknown


def label_flows(
    source: Source[BatchT],
    sink: Sink[BatchT],
    classifier: Labeller,
    *,
    threads: int | None = None,
    known: bool = False,
    texts: Sequence[int] = (),
    strict: bool = False,
    evidence: Callable[[BatchT, Result], Evidence] | None = None,
    take_evidence: Callable[[Evidence], None] = lambda _: None,
    progress: Callable[[int, int | None], None] = lambda *_: None,
) -> Tally:
    """Labels every flow of ``source`` into ``sink``, in order, in ``threads`` threads (by default the CPUs that this
    process may use): each takes a batch from unparsed to formatted.

    With ``known`` the sink learns whether a flow is like the trained protocols. ``texts``: the text columns that the
    batches are to hold. ``evidence`` sums what a batch's labels say, the unsure ones too, and ``take_evidence`` gets
    that in the order of the flows. ``progress`` gets the source's position and size. Raises FlowsError.
    """
    bundle = classifier.bundle
    vocabulary = bundle.vocabulary()

    def label(parse: Callable[[], BatchT]) -> tuple[Any, Tally, Evidence | None]:
        batch = parse()
        result = classifier.label(batch)
        of_known_protocol = classifier.known(result) if known else None
        summed = evidence(batch, result) if evidence else None
        result = classifier.given(result)
        tally = Tally.of(vocabulary)
        final = slice(None) if batch.early is None else ~batch.early
        np.add.at(tally.labels, tuple(result.codes[: tally.labels.ndim, final]), 1)
        tally.too_few_values = int(batch.has_too_few_values[final].sum())
        if result.outside is not None:
            tally.outside_range = int((result.outside & batch.readable)[final].sum())
        if of_known_protocol is not None:
            tally.unknown = int((of_known_protocol == 0)[final].sum())
        return sink.format(batch, result.codes, result.confidence, of_known_protocol), tally, summed

    total = Tally.of(vocabulary)
    batches = source.unparsed_batches(bundle.features, texts, strict=strict)
    with contextlib.closing(in_order(label, batches, threads or usable_cpus())) as labelled:
        for part in labelled:
            if part is None:
                sink.flush()
                continue
            formatted, tally, summed = part
            sink.write(formatted)
            if summed is not None:
                take_evidence(summed)
            total.add(tally)
            progress(source.position(), source.size)
    return total
