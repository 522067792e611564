"""Flows out of a table: typed columns in memory or in files, whatever library holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

import etcc_edge._native as _native
from etcc_edge.arrays import F32, F64, I32, I64, U8
from etcc_edge.errors import FlowsError
from etcc_edge.flows.batch import CONTRADICTION, NOT_A_NUMBER, OK, Batch
from etcc_edge.flows.columns import EXAMPLES, ColumnFlows
from etcc_edge.flows.dialect import Reading

BATCH_ROWS = 8192
"""Of a batch, at most: its features stay in the processor's cache."""
SAMPLE_ROWS = 1000
"""That tell the dialect and its units, at most: as many as of a text file."""


class Cells(NamedTuple):
    """The numbers [n] of a column. ``values``: of any type of number. ``validity``: bits, the least significant first,
    0 for a row without value; that of row 0 is at ``offset``. ``wrong``: not 0 where the cell is no number."""

    values: npt.NDArray[Any]
    validity: U8 | None = None
    offset: int = 0
    wrong: U8 | None = None


class NoNumbers(Exception):
    """The type of a column, which holds no numbers."""


class Chunk(Protocol):
    """Consecutive rows of a table."""

    def __len__(self) -> int: ...

    def part(self, start: int, stop: int) -> Chunk:
        """Some of its rows, without a copy."""
        ...

    def numbers(self, column: int) -> Cells:
        """Raises NoNumbers."""
        ...

    def text(self, column: int) -> list[str]:
        """A column's cells [n] as text; empty without value."""
        ...


class Table(Protocol):
    """Rows under named columns. ``name`` is for messages."""

    name: str
    columns: tuple[str, ...]

    @property
    def size(self) -> int | None:
        """Bytes to read in all, or None where that is not known."""
        ...

    def position(self) -> int:
        """Bytes that were read so far."""
        ...

    def head(self) -> Chunk:
        """The first `SAMPLE_ROWS` rows; `chunks` gives them too."""
        ...

    def chunks(self, columns: Sequence[int]) -> Iterator[Chunk]:
        """All rows, once, with these columns at least. Raises FlowsError."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class TableBatch(Batch):
    """Consecutive rows of a table. ``first``: the number of the first of them, from 0. ``chunk``: the rows."""

    first: int
    chunk: Chunk = field(repr=False)
    _texts: tuple[int, ...] = field(repr=False)
    _fault: I32 = field(repr=False)

    def text(self, column: int) -> list[str]:
        return self.chunk.text(self._texts[column])

    def row_bytes(self) -> list[bytes]:
        """Each row's asked-for text columns, equal for equal rows."""
        cells = [self.chunk.text(column) for column in self._texts]
        return ["\x1f".join(row).encode() for row in zip(*cells, strict=True)]


@dataclass(frozen=True)
class _Layout:
    """What is read of a chunk: columns with their factors, of which the first ones hold features, and the relations
    between them."""

    columns: tuple[tuple[int, float], ...]
    features: int
    relations: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def read(self, chunk: Chunk, names: Sequence[str], place: str) -> tuple[F32, U8, I32, int]:
        """Features float32 [n, f], status [n], fault [n], and how many rows lack a value. Raises FlowsError."""
        cells = []
        for column, factor in self.columns:
            try:
                cells.append((*chunk.numbers(column), factor))
            except NoNumbers as error:
                raise FlowsError(
                    f"{place}: column {names[column]!r} holds {error}, but numbers are needed; convert it"
                ) from error
        n = len(chunk)
        features, status, fault = np.empty((n, self.features), np.float32), np.empty(n, np.uint8), np.empty(n, np.int32)
        return features, status, fault, _native.read_columns(cells, self.relations, features, status, fault)


class TableFlows(ColumnFlows[TableBatch]):
    """The flows of a table. ``reading``: how its columns are to be read, where that is known.

    Raises FlowsError for columns of no known dialect.
    """

    def __init__(self, table: Table, reading: Reading | None = None) -> None:
        super().__init__(table.name)
        self.table = table
        self._counting = Lock()
        self._faulty: list[tuple[int, dict[str, str]]] = []  # the first rows with wrong numbers, by their number
        try:
            self._recognise(table.columns, self._sample, reading=reading)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.table.close()

    @property
    def place(self) -> str:
        return self.name

    @property
    def size(self) -> int | None:
        return self.table.size

    def position(self) -> int:
        return self.table.position()

    def unparsed_batches(
        self, features: Sequence[str], texts: Sequence[int] = (), *, strict: bool = False
    ) -> Iterator[Callable[[], TableBatch]]:
        self._check_has(features)
        names = list(dict.fromkeys([*features, *(name for r in self.relations for name in r.columns)]))
        columns = [self.reading.columns[name] for name in names]
        layout = _Layout(
            tuple((self.reading.columns[name], self.reading.factors[name]) for name in names),
            len(features),
            tuple((r.kind, tuple(names.index(name) for name in r.columns)) for r in self.relations),
        )
        batch = partial(self._batch, layout, tuple(names), tuple(texts), strict)
        first = 0
        for chunk in self.table.chunks(list(dict.fromkeys([*columns, *texts]))):
            for start in range(0, len(chunk), BATCH_ROWS):
                part = chunk.part(start, min(start + BATCH_ROWS, len(chunk)))
                yield partial(batch, part, first + start)
            first += len(chunk)

    def _batch(
        self, layout: _Layout, names: tuple[str, ...], texts: tuple[int, ...], strict: bool, chunk: Chunk, first: int
    ) -> TableBatch:
        features, status, fault, lacking = layout.read(chunk, self.columns, self.place)
        batch = TableBatch(names[: layout.features], features, status, first, chunk, texts, fault)
        with self._counting:
            self._count(batch, names, lacking)
        if strict and status.any():
            raise FlowsError(self._complaint(batch) + "; mend it, or leave out --strict")
        return batch

    def _sample(self, columns: Mapping[str, int]) -> dict[str, F64]:
        layout = _Layout(tuple((column, 1.0) for column in columns.values()), len(columns))
        features, status, _, _ = layout.read(self.table.head(), self.columns, self.place)
        values = features[status == OK].astype(np.float64)
        return {name: values[:, i] for i, name in enumerate(columns)}

    def _count(self, batch: TableBatch, names: tuple[str, ...], lacking: int) -> None:
        counts = self.counts
        counts.rows += len(batch)
        counts.with_missing_values += lacking
        if not batch.status.any():
            return
        contradictory = batch.status == CONTRADICTION
        counts.contradictory += int(contradictory.sum())
        counts.not_a_number += int((batch.status == NOT_A_NUMBER).sum())
        self._broken.update(self.relations[i] for i in batch._fault[contradictory].tolist())
        examples = []
        for row in np.flatnonzero(batch.status)[:EXAMPLES].tolist():
            cells = batch.chunk.part(row, row + 1)
            examples.append((batch.first + row, {name: cells.text(self.reading.columns[name])[0] for name in names}))
        # Batches come in any order.
        self._faulty = sorted([*self._faulty, *examples], key=lambda example: example[0])[:EXAMPLES]

    def _contradictory(self) -> list[Mapping[str, str]]:
        return [cells for _, cells in self._faulty]

    def _complaint(self, batch: TableBatch) -> str:
        row = int(np.flatnonzero(batch.status)[0])
        where, fault = f"{self.place}: row {batch.first + row + 1}", int(batch._fault[row])
        if batch.status[row] == CONTRADICTION:
            return f"{where}: contradicts itself: {self.relations[fault].text} does not hold"
        column = self.reading.columns[batch.names[fault]]
        return f"{where}: column {self.columns[column]!r} holds a cell that is not a number"


def unmasked(column: npt.ArrayLike) -> npt.NDArray[Any]:
    """An array, in which what a mask hides has no value."""
    if not isinstance(column, np.ma.MaskedArray):
        return np.asarray(column)
    filled: npt.NDArray[Any]
    if column.dtype.kind == "f":
        filled = np.ma.filled(column, np.nan)
    elif column.dtype.kind in "iu":
        filled = np.ma.filled(column.astype(np.float64), np.nan)
    else:
        filled = np.ma.filled(column.astype(object), None)
    return filled


class ArrayTable:
    """Columns that are arrays [n] in memory, of any types. ``array_of`` gives one, and is called for those alone that
    are needed. Raises FlowsError where they differ in length."""

    size: int | None = None

    def __init__(
        self, name: str, columns: Sequence[str], array_of: Callable[[int], npt.NDArray[Any]], rows: int | None = None
    ) -> None:
        self.name = name
        self.columns = tuple(columns)
        self._rows = rows
        self._array_of = array_of
        self._arrays: dict[int, npt.NDArray[Any]] = {}

    def __len__(self) -> int:
        if self._rows is None:
            first = self._array_of(0) if self.columns else np.empty(0)
            self._rows = len(first) if first.ndim else 0
        return self._rows

    def array(self, column: int) -> npt.NDArray[Any]:
        if column not in self._arrays:
            array = self._array_of(column)
            if array.shape != (len(self),):
                raise FlowsError(
                    f"{self.name}: column {self.columns[column]!r} is of shape {list(array.shape)}, not [{len(self)}]; "
                    "columns are arrays of one length"
                )
            self._arrays[column] = array
        return self._arrays[column]

    def position(self) -> int:
        return 0

    def head(self) -> ArrayChunk:
        return ArrayChunk(self, 0, min(SAMPLE_ROWS, len(self)))

    def chunks(self, columns: Sequence[int]) -> Iterator[ArrayChunk]:
        for column in columns:
            self.array(column)  # in this thread
        yield ArrayChunk(self, 0, len(self))

    def close(self) -> None:
        pass


class ArrayChunk:
    def __init__(self, table: ArrayTable, start: int, stop: int) -> None:
        self._table, self._start, self._stop = table, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def part(self, start: int, stop: int) -> ArrayChunk:
        return ArrayChunk(self._table, self._start + start, self._start + stop)

    def _array(self, column: int) -> npt.NDArray[Any]:
        return self._table.array(column)[self._start : self._stop]

    def numbers(self, column: int) -> Cells:
        array = self._array(column)
        kind, size = array.dtype.kind, array.dtype.itemsize
        if kind in "iu" or (kind == "f" and size in (4, 8)):
            return Cells(array.astype(array.dtype.newbyteorder("="), copy=False))
        if kind == "f":
            return Cells(array.astype(np.float32 if size == 2 else np.float64))
        if kind in "OUST":
            return parsed(self.text(column))
        raise NoNumbers(str(array.dtype))

    def text(self, column: int) -> list[str]:
        array = self._array(column)
        if array.dtype.kind in "mM":
            return ["" if cell == "NaT" else cell for cell in array.astype(str).tolist()]
        return list(map(_text, array.tolist()))


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return ""
    return str(value)


def parsed(texts: Sequence[str]) -> Cells:
    """The numbers in cells of text, as in a CSV file."""
    cells = [text.encode("utf-8", "replace") for text in texts]
    ends = np.cumsum([0, *map(len, cells)])
    return parsed_bytes(np.frombuffer(b"".join(cells), np.uint8), ends)


def parsed_bytes(data: U8, ends: I64) -> Cells:
    """The same of cells [n] that lie one after the other: ``ends`` [n + 1] has the first one's begin, and each one's
    end."""
    values, wrong = _native.parse_cells(data, ends)
    return Cells(values, wrong=wrong)
