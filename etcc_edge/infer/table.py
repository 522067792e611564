"""A table in memory to the same kind of table with the labels as further columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from etcc_edge.arrays import F32, I8, I32
from etcc_edge.errors import EtccError
from etcc_edge.flows.labels import check_label_columns, label_columns
from etcc_edge.flows.table import ArrayTable, Table, TableBatch, TableFlows, unmasked
from etcc_edge.flows.unlabelled import doubt
from etcc_edge.infer.pipeline import Labeller, label_flows

if TYPE_CHECKING:
    from etcc_edge.flows.arrow.labels import LabelColumns

_NAME = "table"


@dataclass(frozen=True)
class Labels:
    """Labels of n flows: ``codes`` into ``vocabulary`` and ``confidence`` [levels, n], ``known`` [n] or None."""

    levels: tuple[str, ...]
    vocabulary: tuple[tuple[str, ...], ...]
    codes: I32
    confidence: F32
    known: I8 | None

    def columns(
        self, as_labels: Callable[[I32, tuple[str, ...]], Any], as_known: Callable[[I8], Any]
    ) -> dict[str, Any]:
        """The label columns by name, with labels and `Result.known` as the caller's library has them."""
        columns: list[Any] = []
        for names, codes, confidence in zip(self.vocabulary, self.codes, self.confidence, strict=True):
            columns += [as_labels(codes, names), confidence]
        columns += [] if self.known is None else [as_known(self.known)]
        return dict(zip(label_columns(self.levels, known=self.known is not None), columns, strict=True))


Joined = Callable[[Labels], Any]
"""A table's labels to the table with its label columns."""


class _Kept:
    """A sink that keeps labels in memory."""

    def __init__(self, levels: int) -> None:
        self._codes, self._confidence = [np.empty((levels, 0), np.int32)], [np.empty((levels, 0), np.float32)]
        self._known = [np.empty(0, np.int8)]

    def format(self, batch: TableBatch, codes: I32, confidence: F32, known: I8 | None) -> tuple[I32, F32, I8 | None]:
        return codes, confidence, known

    def write(self, formatted: tuple[I32, F32, I8 | None]) -> None:
        codes, confidence, known = formatted
        self._codes.append(codes)
        self._confidence.append(confidence)
        if known is not None:
            self._known.append(known)

    def flush(self) -> None:
        pass

    def labels(self, classifier: Labeller, *, known: bool) -> Labels:
        return Labels(
            classifier.bundle.levels,
            classifier.bundle.vocabulary(),
            np.concatenate(self._codes, axis=1),
            np.concatenate(self._confidence, axis=1),
            np.concatenate(self._known) if known else None,
        )


def label_table(table: Any, classifier_of: Callable[[TableFlows], Labeller], *, known: bool = False) -> Any:
    """What `Classifier.label_table` gives. ``classifier_of`` picks the classifier by the table's columns."""
    if _library(table) == "pyarrow" and hasattr(table, "read_next_batch"):
        return _label_reader(table, classifier_of, known=known)
    source, joined = _opened(table)
    with TableFlows(source) as flows:
        classifier = classifier_of(flows)
        check_label_columns(label_columns(classifier.bundle.levels, known=known), flows.cells, _NAME)
        sink = _Kept(len(classifier.bundle.levels))
        # Batches overlap instead, each in one thread from columns to labels.
        tally = label_flows(
            flows,
            sink,
            classifier.with_threads(1),
            threads=classifier.threads,
            known=known,
        )
        _warn(flows, tally.too_few_values)
    return joined(sink.labels(classifier, known=known))


def _warn(flows: TableFlows, too_few_values: int) -> None:
    if text := doubt(flows, too_few_values):
        warnings.warn(f"{flows.name}: {text}", stacklevel=4)


def _library(table: Any) -> str:
    return type(table).__module__.partition(".")[0]


def _opened(table: Any) -> tuple[Table, Joined]:
    """What reads a table, and what gives it its labels. Raises TypeError for what is no table."""
    library = _library(table)
    if library == "pandas" and hasattr(table, "iloc") and hasattr(table, "columns"):
        return _pandas(table)
    if library == "polars" and hasattr(table, "get_columns"):
        return _polars(table)
    if hasattr(table, "__arrow_c_stream__"):
        return _arrow(table)
    if isinstance(table, Mapping):
        return _mapping(table)
    raise TypeError(_no_table(table))


def _no_table(value: object) -> str:
    return (
        "a table is a pandas or polars data frame, an Arrow table, stream or reader, or a mapping of arrays, not a "
        f"{type(value).__module__}.{type(value).__qualname__}"
    )


def _mapping(table: Mapping[str, npt.ArrayLike]) -> tuple[Table, Joined]:
    arrays = {str(name): unmasked(column) for name, column in table.items()}

    def texts(codes: I32, names: tuple[str, ...]) -> Any:
        return np.array([*names, ""], np.str_)[codes]

    def joined(labels: Labels) -> dict[str, Any]:
        return {**table, **labels.columns(texts, lambda known: known)}

    return ArrayTable(_NAME, list(arrays), list(arrays.values()).__getitem__), joined


def _pandas(table: Any) -> tuple[Table, Joined]:
    import pandas as pd  # type: ignore[import-untyped]

    def array(column: int) -> npt.NDArray[Any]:
        series = table.iloc[:, column]
        if isinstance(series.dtype, pd.CategoricalDtype):
            series = series.astype(series.dtype.categories.dtype)
        if not isinstance(series.dtype, np.dtype) and pd.api.types.is_numeric_dtype(series.dtype):
            return cast(npt.NDArray[Any], series.to_numpy(np.float64, na_value=np.nan))  # columns that have masks
        return cast(npt.NDArray[Any], series.to_numpy())

    def joined(labels: Labels) -> Any:
        columns = labels.columns(
            lambda codes, names: pd.Categorical.from_codes(codes, names),
            lambda known: pd.array(np.where(known < 0, None, known == 1), "boolean"),
        )
        frame = table.copy(deep=False)
        for name, column in columns.items():
            frame[name] = column
        return frame

    return ArrayTable(_NAME, list(map(str, table.columns)), array, rows=len(table)), joined


def _polars(table: Any) -> tuple[Table, Joined]:
    import polars as pl

    columns = table.get_columns()

    def labels_of(codes: I32, names: tuple[str, ...]) -> Any:
        places = pl.Series(codes).replace(-1, None).cast(pl.UInt32)
        return pl.Series(names, dtype=pl.Enum(names)).gather(places)

    def joined(labels: Labels) -> Any:
        added = labels.columns(labels_of, lambda known: pl.Series(known).replace(-1, None).cast(pl.Boolean))
        for name, column in added.items():
            if name.endswith("_confidence"):
                added[name] = pl.Series(column, nan_to_null=True)
        return table.with_columns(**added)

    return ArrayTable(_NAME, table.columns, lambda column: columns[column].to_numpy(), rows=len(table)), joined


def _arrow(table: Any) -> tuple[Table, Joined]:
    pa, chunk = _pyarrow()
    whole = table if isinstance(table, (pa.Table, pa.RecordBatch)) else _stream(pa, table).read_all()

    def joined(labels: Labels) -> Any:
        from etcc_edge.flows.arrow.labels import LabelColumns

        columns = LabelColumns(labels.levels, labels.vocabulary, known=labels.known is not None)
        result = whole
        arrays = columns.arrays(labels.codes, labels.confidence, labels.known)
        for label, array in zip(columns.fields, arrays, strict=True):
            result = result.append_column(label, array)
        return _as_relation(table, result) if _library(table) == "duckdb" else result

    batches = (
        whole.to_reader() if isinstance(whole, pa.Table) else pa.RecordBatchReader.from_batches(whole.schema, [whole])
    )
    return chunk.ArrowTable(_NAME, batches), joined


def _stream(pa: Any, table: Any) -> Any:
    """Raises TypeError for a stream of a single column, such as a polars series."""
    try:
        return pa.RecordBatchReader.from_stream(table)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise TypeError(_no_table(table)) from error


def _as_relation(relation: Any, labelled: Any) -> Any:
    """An Arrow table as a relation on the connection of another one."""
    return relation.query("flows", "select * from labelled")  # finds this function's variable by its name


def _label_reader(reader: Any, classifier_of: Callable[[TableFlows], Labeller], *, known: bool) -> Any:
    """A reader that labels as it is read."""
    pa, chunk = _pyarrow()
    from etcc_edge.flows.arrow.labels import LabelColumns

    table = chunk.ArrowTable(_NAME, reader)
    flows = TableFlows(table)
    classifier = classifier_of(flows)
    bundle = classifier.bundle
    check_label_columns(label_columns(bundle.levels, known=known), flows.cells, _NAME)
    columns = LabelColumns(bundle.levels, bundle.vocabulary(), known=known)
    schema = pa.schema([*table.schema, *columns.fields], table.schema.metadata)

    def batches() -> Iterator[Any]:
        too_few_values = 0
        with flows:
            for batch, arrays in labelled_arrays(flows, classifier, columns, known=known):
                too_few_values += int(batch.has_too_few_values.sum())
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            _warn(flows, too_few_values)

    return pa.RecordBatchReader.from_batches(schema, batches())


def labelled_arrays(
    flows: TableFlows, classifier: Labeller, columns: LabelColumns, *, known: bool
) -> Iterator[tuple[TableBatch, list[Any]]]:
    """An Arrow table's batches, each with its columns and the label ``columns`` after them."""
    for batch in flows.batches(classifier.bundle.features, range(len(flows.columns))):
        result = classifier.label(batch)
        judged = classifier.known(result) if known else None
        kept = classifier.given(result)
        own = cast(Any, batch.chunk).batch.columns
        yield batch, [*own, *columns.arrays(kept.codes, kept.confidence, judged)]


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa

        from etcc_edge.flows.arrow import chunk
    except ImportError as error:
        raise EtccError(f"this kind of table needs {error.name}: pip install 'etcc-edge[arrow]'") from error
    return pa, chunk
