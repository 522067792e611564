"""The public face: flows in, labels out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from etcc_edge.arrays import I8
from etcc_edge.bundle import Bundle, load_bundle
from etcc_edge.engines.cascade import answer, open_cascade
from etcc_edge.engines.choice import Choice, choose
from etcc_edge.engines.result import Cascade, Result
from etcc_edge.errors import FlowsError
from etcc_edge.flows.batch import Batch, BatchT
from etcc_edge.flows.table import unmasked
from etcc_edge.flows.unlabelled import doubt
from etcc_edge.infer.source import follow, open_source
from etcc_edge.infer.threads import usable_cpus
from etcc_edge.meter import CaptureSource


class Classifier:
    """Labels flows with one bundle.

    Engines are opened at the first flow and again after a fork, so a Classifier can be pickled and used in
    worker processes. ``threads`` defaults to the CPUs that this process may use. Where both confidences multiplied are
    below ``min_confidence``, by default what the bundle asks for, there is no application; 0 gives every guess.

    Raises BundleError for a bundle that cannot be used, BackendError for a backend that this machine lacks.
    """

    def __init__(
        self,
        bundle: Bundle | str | os.PathLike[str] = "default",
        *,
        backend: str = "auto",
        precision: str = "auto",
        batch_size: int = 1024,
        threads: int | None = None,
        min_confidence: float | None = None,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
        self.choice: Choice = choose(backend, precision, self.bundle)
        self.batch_size = batch_size
        self.threads = threads or usable_cpus()
        self.min_confidence = self.bundle.least_confidence if min_confidence is None else min_confidence
        self._cascade: Cascade | None = None
        self._cascade_pid = 0
        self._other: Classifier | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cascade": None, "_other": None}

    @property
    def features(self) -> tuple[str, ...]:
        """Canonical names of the columns that `predict` takes, in order."""
        return self.bundle.features

    def predict(self, features: npt.ArrayLike | Mapping[str, npt.ArrayLike]) -> Result:
        """Labels of raw features: an array [n, f] in the order of `features`, or its columns by name.

        A mapping may be a data frame. Values are in the units of ``bundle.units`` and become float32; NaN, infinities,
        what exceeds float32 and what a mask hides mean "no value"; a flow with values in less than half of the features
        gets no label. Raises FlowsError for a missing column, ValueError for another shape.
        """
        with np.errstate(over="ignore"):
            if isinstance(features, Mapping) or hasattr(features, "columns"):
                table: Any = features
                if missing := [name for name in self.features if name not in table]:
                    raise FlowsError(f"the columns lack {', '.join(missing)}")
                raw = np.stack([np.asarray(unmasked(table[name]), np.float32) for name in self.features], axis=1)
            else:
                raw = np.asarray(unmasked(features), np.float32)
        if np.isinf(raw).any():
            raw = np.where(np.isinf(raw), np.float32(np.nan), raw)
        return self.given(answer(self.bundle, self.open(), raw))

    def label_table(self, table: Any, *, known: bool = False) -> Any:
        """A table of flows with the columns that `etcc-edge infer` adds: the same kind of table, its own columns, order
        and index as they are.

        ``table``: a pandas or polars data frame, a pyarrow Table, RecordBatch or RecordBatchReader (labelled as the
        result is read), a DuckDB relation, anything else with ``__arrow_c_stream__`` (gives a pyarrow Table), or a
        mapping of arrays [n]. Its columns have the names of any dialect; units are told by the values. Float32 columns
        are not copied. Labels are categories of text, without value where a flow has none; confidences are float32.
        Of a mapping they are arrays, "" and NaN without label.

        ``known`` is that of `etcc-edge infer`. Warns where the table's numbers contradict each other, and where more
        than half of its rows have no labels for other reasons. Raises FlowsError for columns that are absent or hold no
        numbers, TypeError for what is no table, and EtccError where pyarrow is needed and not installed.
        """
        from etcc_edge.infer.table import label_table

        return label_table(table, lambda _: self, known=known)

    def with_threads(self, threads: int) -> Classifier:
        """The same in so many threads; kept for the next time."""
        if threads == self.threads:
            return self
        if self._other is None or self._other.threads != threads:
            self._other = Classifier(
                self.bundle,
                backend=self.choice.backend,
                precision=self.choice.precision,
                batch_size=self.batch_size,
                threads=threads,
                min_confidence=self.min_confidence,
            )
        self._other.open()
        return self._other

    def classify(self, flows: str | os.PathLike[str] | Iterable[BatchT]) -> Iterator[tuple[BatchT, Result]]:
        """Each batch of a flows file, a capture, or any other source, with its labels, in order.

        A capture is cut into flows as the bundle's were; its batches are `CaptureBatch`. Rows that could not be read,
        or have too few values, get no label; warns as `label_table` does, after a file's last batch. Batches that are
        passed in hold this bundle's features; else ValueError. Raises FlowsError, for a damaged capture after its last
        batch.
        """
        if isinstance(flows, (str, os.PathLike)):
            with open_source(flows) as file:
                if isinstance(file, CaptureSource):
                    follow(file, self.bundle)
                too_few_values = 0
                for batch, result in self.classify(cast(Iterable[BatchT], file.batches(self.features))):
                    too_few_values += int(batch.has_too_few_values.sum())
                    yield batch, result
                if isinstance(file, CaptureSource):
                    file.raise_problem()
                if text := doubt(file, too_few_values):
                    warnings.warn(f"{file.name}: {text}", stacklevel=2)
            return
        for batch in flows:
            yield batch, self.given(self.label(batch))

    def label(self, batch: Batch) -> Result:
        """A batch's labels, the unsure ones too. Rows that could not be read, or have too few values, get none. After
        `open` several threads may call it at once. Raises ValueError for a batch of other features than this
        bundle's."""
        if batch.names != self.features:
            raise ValueError("the batch was read with other features than this bundle's")
        return answer(self.bundle, self.open(), batch.features).without(~batch.readable)

    def given(self, result: Result) -> Result:
        """The same without the applications that are less sure than ``min_confidence``."""
        return result.at_least(self.min_confidence) if self.min_confidence else result

    def known(self, result: Result) -> I8:
        """`Result.known` by the bundle's own threshold at the precision in use."""
        return result.known(self.bundle.root.thresholds.get(self.choice.precision))

    def open(self) -> Cascade:
        """Opens the engines, unless this process has opened them already."""
        if self._cascade is None or self._cascade_pid != os.getpid():
            self._cascade = open_cascade(self.bundle, self.choice, block=self.batch_size, threads=self.threads)
            self._cascade_pid = os.getpid()
        return self._cascade
