"""A source of any kind is joined to a sink of any kind, in order, whatever the number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest

from etcc_edge.bundle import Bundle
from etcc_edge.errors import FlowsError
from etcc_edge.flows.batch import OK, Batch
from etcc_edge.infer.classifier import Classifier
from etcc_edge.infer.pipeline import label_flows
from making import raw_flows


@dataclass(frozen=True)
class NumberedBatch(Batch):
    """A batch whose rows are known to its sink by number, as those of a table would be."""

    first: int


class FakeTable:
    """A source without text: flows in memory."""

    name = place = "table"
    form = meter = "none"

    def __init__(
        self, features: np.ndarray, status: np.ndarray, rows_a_batch: int, fails_at: int | None = None
    ) -> None:
        self.features, self.status, self.rows_a_batch, self.fails_at = features, status, rows_a_batch, fails_at
        self.size, self.read = len(features), 0
        self.rows, self.unlabelled = len(features), int((status != OK).sum())

    @property
    def counts(self) -> FakeTable:
        return self

    def position(self) -> int:
        return self.read

    def lack(self, names: Sequence[str]) -> str:
        return ""

    def unparsed_batches(
        self, features: Sequence[str], texts: Sequence[int] = (), *, strict: bool = False
    ) -> Iterator[Callable[[], NumberedBatch]]:
        for start in range(0, len(self.features), self.rows_a_batch):
            rows = slice(start, start + self.rows_a_batch)
            self.read = min(rows.stop, self.size)
            if self.fails_at is not None and start >= self.fails_at:
                raise FlowsError("table: ends early")
            yield partial(NumberedBatch, tuple(features), self.features[rows], self.status[rows], start)


class FakeSink:
    """Keeps the labels by row."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, int | None]] = []
        self.flushed_at: list[int] = []

    def format(self, batch: NumberedBatch, codes: np.ndarray, confidence: np.ndarray, known: np.ndarray | None):
        judged = [None] * len(batch) if known is None else known.tolist()
        numbers = range(batch.first, batch.first + len(batch))
        return list(zip(numbers, *codes.tolist(), judged, strict=True))

    def write(self, formatted: list[tuple[int, int, int, int | None]]) -> None:
        self.rows += formatted

    def flush(self) -> None:
        self.flushed_at.append(len(self.rows))


@pytest.fixture
def features() -> np.ndarray:
    raw = raw_flows(100, seed=2)
    raw[17] = np.nan
    raw[18, 2] = 5000  # beyond the scaler's range
    return raw


@pytest.fixture
def status() -> np.ndarray:
    status = np.zeros(100, np.uint8)
    status[40] = 1
    return status


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("rows_a_batch", [7, 100])
def test_every_row_gets_the_labels_that_predict_gives(
    tiny_bundle: Bundle, features: np.ndarray, status: np.ndarray, threads: int, rows_a_batch: int
) -> None:
    sink, classifier = FakeSink(), Classifier(tiny_bundle, threads=1)
    tally = label_flows(FakeTable(features, status, rows_a_batch), sink, classifier, threads=threads)
    expected = classifier.predict(features).codes
    expected[:, 40] = -1
    assert [row[0] for row in sink.rows] == list(range(100))
    assert np.array([row[1:3] for row in sink.rows]).T.tolist() == expected.tolist()
    assert {row[3] for row in sink.rows} == {None}
    assert int(tally.labels.sum()) == 100
    assert (tally.too_few_values, tally.outside_range, tally.unknown) == (1, 1, 0)
    assert tally.labels[-1].sum() == 2


def test_whether_flows_are_known_is_counted_where_it_is_asked_for(
    tiny_bundle: Bundle, features: np.ndarray, status: np.ndarray
) -> None:
    sink = FakeSink()
    energy = Classifier(tiny_bundle).predict(features).energy[0]
    root = replace(tiny_bundle.root, thresholds={"fp32": float(np.nanmedian(energy))})
    classifier = Classifier(replace(tiny_bundle, root=root))
    tally = label_flows(FakeTable(features, status, 30), sink, classifier, known=True)
    judged = [row[3] for row in sink.rows]
    assert (judged[17], judged[40]) == (-1, -1)
    assert 40 < judged.count(0) == tally.unknown < 60


def test_rows_before_a_failure_are_written_and_the_failure_passes(
    tiny_bundle: Bundle, features: np.ndarray, status: np.ndarray
) -> None:
    sink = FakeSink()
    with pytest.raises(FlowsError, match="ends early"):
        label_flows(FakeTable(features, status, 10, fails_at=50), sink, Classifier(tiny_bundle), threads=2)
    assert [row[0] for row in sink.rows] == list(range(50))


def test_a_pause_of_the_source_flushes_the_sink(tiny_bundle: Bundle, features: np.ndarray, status: np.ndarray) -> None:
    class Pausing(FakeTable):
        def unparsed_batches(self, *arguments, **options):
            for batch in super().unparsed_batches(*arguments, **options):
                yield batch
                yield None

    sink = FakeSink()
    label_flows(Pausing(features, status, 40), sink, Classifier(tiny_bundle), threads=2)
    assert sink.flushed_at == [40, 80, 100]


def test_progress_is_the_sources(tiny_bundle: Bundle, features: np.ndarray, status: np.ndarray) -> None:
    seen: list[tuple[int, int | None]] = []
    table = FakeTable(features, status, 25)
    label_flows(table, FakeSink(), Classifier(tiny_bundle), threads=1, progress=lambda *now: seen.append(now))
    assert seen == [(25, 100), (50, 100), (75, 100), (100, 100)]
