"""Labels for a Spark data frame: those that `etcc-edge infer` gives its rows in a file. Needs the extra ``spark``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from etcc_edge.bundle.fit import pick_bundle
from etcc_edge.bundle.model import Bundle
from etcc_edge.errors import EtccError, FlowsError
from etcc_edge.flows.arrow.chunk import ArrowTable
from etcc_edge.flows.arrow.labels import LabelColumns
from etcc_edge.flows.dialect import Reading
from etcc_edge.flows.labels import check_label_columns
from etcc_edge.flows.table import SAMPLE_ROWS, TableFlows
from etcc_edge.infer.classifier import Classifier
from etcc_edge.infer.table import labelled_arrays

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_NAME = "data frame"


@dataclass(frozen=True)
class _Work:
    """What a worker needs to label rows. All have the same, so that no label depends on who gives it."""

    classifier: Classifier
    reading: Reading
    known: bool

    def columns(self) -> LabelColumns:
        bundle = self.classifier.bundle
        return LabelColumns(bundle.levels, bundle.vocabulary(), known=self.known)


def label(
    flows: DataFrame,
    bundle: Bundle | str | os.PathLike[str] = "auto",
    *,
    sample: DataFrame | None = None,
    known: bool = False,
    **options: Any,
) -> DataFrame:
    """``flows``, batch or streaming, with the columns that `etcc-edge infer` adds: labels are strings, confidences
    floats, null where a flow has no label. Rows are labelled when Spark asks for them.

    How columns are read (their dialect, the unit of times) is told here and now by the first rows of ``sample``, by
    default of ``flows`` itself. A stream cannot be looked at first: it needs a ``sample`` of the same columns.
    ``bundle`` and ``known`` are those of `etcc_edge.label`, ``options`` those of `Classifier` but for threads: each
    Python worker has one.

    Raises FlowsError for columns that are absent or hold no numbers, and EtccError for Spark Connect. A row that cannot
    be labelled has null labels, and fails nothing.
    """
    from pyspark.sql.types import BooleanType, FloatType, StringType, StructField, StructType

    try:
        context = flows.sparkSession.sparkContext
    except AttributeError as error:
        raise EtccError(f"{_NAME}: is of Spark Connect, which broadcasts no bundle; use a classic session") from error
    reading, chosen = _fit(flows, sample, bundle)
    work = _Work(Classifier(chosen, threads=1, **options), reading, known)
    added = work.columns().fields
    check_label_columns([column.name for column in added], flows.columns, _NAME)
    types = {pa.float32(): FloatType(), pa.bool_(): BooleanType()}
    fields = [StructField(column.name, types.get(column.type, StringType())) for column in added]
    # Spark sends a broadcast to an executor once, and a worker keeps its value, and so the open classifier.
    broadcast = context.broadcast(work)
    # By number: mapInArrow looks columns up by name, and takes a point in one for a field of a structure.
    numbered = flows.toDF(*map(str, range(len(flows.columns))))
    labelled = numbered.mapInArrow(partial(_label, broadcast), StructType([*numbered.schema.fields, *fields]))
    return labelled.toDF(*flows.columns, *(column.name for column in added))


def _fit(flows: DataFrame, sample: DataFrame | None, bundle: Bundle | str | os.PathLike[str]) -> tuple[Reading, Bundle]:
    """How the columns are read, and the bundle that fits them. Raises FlowsError."""
    if sample is None:
        if flows.isStreaming:
            raise FlowsError(f"{_NAME}: is a stream; give a data frame with some of its rows as sample")
        rows = flows.limit(SAMPLE_ROWS).toArrow()
    else:
        if _types(sample) != _types(flows):
            raise FlowsError(f"{_NAME}: the sample has other columns or types")
        rows = sample.limit(SAMPLE_ROWS).toArrow()
        if not len(rows):
            raise FlowsError(f"{_NAME}: the sample has no rows")
    with TableFlows(ArrowTable(_NAME, rows.to_reader())) as source:
        if isinstance(bundle, (str, os.PathLike)):
            bundle, _ = pick_bundle(source, os.fspath(bundle))
        elif lack := source.lack(bundle.features):
            raise FlowsError(f"{_NAME}: lacks {lack}")
        return source.reading, bundle


def _types(flows: DataFrame) -> list[tuple[str, Any]]:
    return [(column.name, column.dataType) for column in flows.schema.fields]


def _label(broadcast: Any, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """In a worker: the rows of one partition."""
    first = next(batches, None)
    if first is None:
        return
    work: _Work = broadcast.value
    columns = work.columns()
    names = [*first.schema.names, *(column.name for column in columns.fields)]
    reader = pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))
    with TableFlows(ArrowTable(_NAME, reader), work.reading) as flows:
        for _, arrays in labelled_arrays(flows, work.classifier, columns, known=work.known):
            # Spark takes no dictionaries.
            plain = [a.dictionary_decode() if pa.types.is_dictionary(a.type) else a for a in arrays]
            yield pa.RecordBatch.from_arrays(plain, names)
