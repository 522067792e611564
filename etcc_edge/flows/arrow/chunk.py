"""Rows of Arrow columns as the flows of a table. Needs pyarrow (extra ``arrow``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa

from etcc_edge.errors import FlowsError
from etcc_edge.flows.table import SAMPLE_ROWS, Cells, NoNumbers, parsed_bytes


class ArrowChunk:
    """A record batch as a `table.Chunk`. ``places``: where it has each of the table's columns; -1 where it does not."""

    def __init__(self, batch: pa.RecordBatch, places: Sequence[int]) -> None:
        self.batch = batch
        self._places = places

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def part(self, start: int, stop: int) -> ArrowChunk:
        return ArrowChunk(self.batch.slice(start, stop - start), self._places)

    def column(self, column: int) -> pa.Array:
        return self.batch.column(self._places[column])

    def numbers(self, column: int) -> Cells:
        return _numbers(self.column(column))

    def text(self, column: int) -> list[str]:
        # Spark writes what it is given as text, be it UTF-8 or not.
        cells = as_text(self.column(column)).cast(pa.large_binary()).to_pylist()
        return ["" if cell is None else cell.decode("utf-8", "replace") for cell in cells]


def _numbers(array: pa.Array) -> Cells:
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        return _numbers(array.storage)
    if pa.types.is_dictionary(type_):
        return _numbers(array.dictionary_decode())
    if pa.types.is_run_end_encoded(type_):
        import pyarrow.compute as pc  # takes as long as half of pyarrow

        return _numbers(pc.run_end_decode(array))
    if pa.types.is_float16(type_):
        return _numbers(array.cast(pa.float32()))
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        validity, data = array.buffers()
        dtype, stop = np.dtype(type_.to_pandas_dtype()), array.offset + len(array)
        has_values = data is not None and len(array)
        # A buffer may be longer than its values, by any number of bytes.
        values = np.frombuffer(data, dtype, stop)[array.offset :] if has_values else np.empty(len(array), dtype)
        bits = np.frombuffer(validity, np.uint8) if validity is not None and array.null_count else None
        return Cells(values, bits, array.offset)
    if pa.types.is_null(type_) or (_is_text(type_) and not len(array)):
        return Cells(np.full(len(array), np.nan, np.float32))
    if pa.types.is_decimal(type_) or pa.types.is_string_view(type_):
        # A decimal's text has all its digits, and is rounded once, as in a CSV file.
        return _numbers(array.cast(pa.large_string()))
    if _is_text(type_):
        text = array.fill_null("") if array.null_count else array
        _, ends, data = text.buffers()
        of_ends = np.int32 if pa.types.is_string(type_) else np.int64
        places = np.frombuffer(ends, of_ends, text.offset + len(text) + 1)[text.offset :].astype(np.int64)
        return parsed_bytes(np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8), places)
    raise NoNumbers(str(type_))


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def as_text(array: pa.Array) -> pa.Array:
    """Cells as a CSV file would have them, null without value."""
    if isinstance(array.type, pa.BaseExtensionType):
        return as_text(array.storage)
    if pa.types.is_dictionary(array.type):
        return as_text(array.dictionary_decode())
    try:
        return array.cast(pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        cells = (None if cell is None else str(cell) for cell in array.to_pylist())
        return pa.array(cells, pa.large_string())


def first_rows(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """`SAMPLE_ROWS` of them at most."""
    rows = pa.Table.from_batches(batches, schema).slice(0, SAMPLE_ROWS).combine_chunks()
    return rows.to_batches()[0] if len(rows) else pa.RecordBatch.from_pylist([], schema)


class ArrowTable:
    """Record batches of one schema, read once, as a `table.Table`."""

    size: int | None = None

    def __init__(self, name: str, reader: pa.RecordBatchReader) -> None:
        self.name = name
        self.schema = reader.schema
        self.columns = tuple(self.schema.names)
        self._reader = reader
        self._ahead: list[pa.RecordBatch] = []

    def position(self) -> int:
        return 0

    def head(self) -> ArrowChunk:
        while sum(batch.num_rows for batch in self._ahead) < SAMPLE_ROWS and (batch := self._next()) is not None:
            self._ahead.append(batch)
        return ArrowChunk(first_rows(self._ahead, self.schema), range(len(self.columns)))

    def chunks(self, columns: Sequence[int]) -> Iterator[ArrowChunk]:
        ahead, self._ahead = self._ahead, []
        for batch in chain(ahead, iter(self._next, None)):
            yield ArrowChunk(batch, range(len(self.columns)))

    def _next(self) -> pa.RecordBatch | None:
        try:
            return self._reader.read_next_batch()
        except StopIteration:
            return None
        except (pa.ArrowException, OSError) as error:
            raise FlowsError(f"{self.name}: cannot be read to its end: {error}") from error

    def close(self) -> None:
        self._reader.close()
