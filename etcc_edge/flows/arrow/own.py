"""A flow's own columns as Arrow columns, whatever it was read from. Needs pyarrow (extra ``arrow``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa

import etcc_edge._native as _native
from etcc_edge.flows.arrow.chunk import ArrowChunk
from etcc_edge.flows.arrow.labels import column
from etcc_edge.flows.batch import Batch
from etcc_edge.flows.columns import ColumnFlows
from etcc_edge.flows.table import TableBatch, TableFlows
from etcc_edge.flows.text.reader import TextBatch


class OwnColumns:
    """The columns ``kept`` of a source, which its batches then hold as text columns. ``schema``: their names and types.

    A table's columns stay as they are. Of a text file, those that hold features become float64, null where the cell is
    empty or no number, and the others are text.
    """

    def __init__(self, source: ColumnFlows[Any], kept: Sequence[int]) -> None:
        self.kept = kept
        if isinstance(source, TableFlows):
            schema = cast(Any, source.table).schema
            self.schema = pa.schema([schema.field(i) for i in kept], schema.metadata)
            return
        features = set(source.reading.columns.values())
        types = [pa.float64() if i in features else pa.large_string() for i in kept]
        self.schema = pa.schema(list(zip((source.columns[i] for i in kept), types, strict=True)))

    def arrays(self, batch: Batch) -> list[pa.Array]:
        if isinstance(batch, TableBatch):
            return [cast(ArrowChunk, batch.chunk).column(i) for i in self.kept]
        assert isinstance(batch, TextBatch)
        return [_cells(batch, place, field.type) for place, field in enumerate(self.schema)]


def _cells(batch: TextBatch, place: int, type_: pa.DataType) -> pa.Array:
    data, ends = _native.gather_cells(batch.block, batch.texts, place)
    if pa.types.is_floating(type_):
        values, _ = _native.parse_cells(data, ends)
        return column(values, np.isnan(values), type_)
    return pa.LargeStringArray.from_buffers(len(batch), pa.py_buffer(ends), pa.py_buffer(data))
