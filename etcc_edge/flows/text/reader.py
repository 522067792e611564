"""Flows out of a CSV or ARFF file: typed batches, in order, in bounded memory."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

import numpy as np

import etcc_edge._native as _native
from etcc_edge.arrays import F64, I32, I64
from etcc_edge.errors import FlowsError
from etcc_edge.flows.batch import CONTRADICTION, LONG, NOT_A_NUMBER, OK, SHORT, STRAY_QUOTE, Batch
from etcc_edge.flows.columns import EXAMPLES, ColumnFlows
from etcc_edge.flows.dialect import FEWEST_NAMES
from etcc_edge.flows.features import dialects, header_key
from etcc_edge.flows.relations import Relation
from etcc_edge.flows.stream import ByteStream
from etcc_edge.flows.text.header import Header, read_header

_BLOCK_BYTES = 1 << 20
_START_BYTES = 2 << 20  # holds the header and the first row
SAMPLE_LINES = 1000
"""Of rows, at most, that tell the dialect and its units."""
_FEWEST_SEPARATORS = 5  # in one cell, for them to be taken for the file's separator


@dataclass(frozen=True)
class TextBatch(Batch):
    """Consecutive rows of a file, with their bytes.

    ``spans``: int64 [n, 2], the row's bytes within ``block``. ``cells``: int32 [n], cells that the row had. ``line``:
    int64 [n], 1-based. ``texts``: int64 [n, t, 2], the cells of the asked-for text columns within ``block``; empty
    where the row has none.
    """

    spans: I64 = field(repr=False)
    cells: I32 = field(repr=False)
    line: I64 = field(repr=False)
    block: bytes = field(repr=False)
    texts: I64 = field(repr=False)
    _fault: I32 = field(repr=False)

    def text(self, column: int) -> list[str]:
        """The cells of the given asked-for text column, without quotes and surrounding blanks."""
        cells = (self.block[begin:end].strip() for begin, end in self.texts[:, column].tolist())
        return [_unquoted(cell).decode("utf-8", "replace") for cell in cells]

    def row_bytes(self) -> list[bytes]:
        return [self.block[begin:end] for begin, end in self.spans.tolist()]


def _unquoted(cell: bytes) -> bytes:
    if len(cell) >= 2 and cell[:1] == cell[-1:] == b'"':
        return cell[1:-1].replace(b'""', b'"')
    return cell


class FlowFile(ColumnFlows[TextBatch]):
    """A flows file, by its path or opened, whose header is understood; `batches` reads its rows, once.

    Raises FlowsError for a file that cannot be read, is empty, or has the header of no known dialect.
    """

    def __init__(self, file: str | os.PathLike[str] | ByteStream) -> None:
        self._stream = file if isinstance(file, ByteStream) else ByteStream(file)
        super().__init__(self._stream.name)
        self._faulty: list[tuple[int, bytes]] = []  # the first rows with wrong numbers, by line
        self._counting = Lock()
        try:
            self._read_start()
        except BaseException:
            self.close()
            raise

    def _read_start(self) -> None:
        self._start = self._stream.read(_START_BYTES)
        # Without a row, its units cannot be seen.
        while not self._stream.ended and self._start.count(b"\n") < 2 and len(self._start) < _START_BYTES:
            self._start += self._stream.read(_START_BYTES)
        self._understand()
        while self._stream.paused and self.waits_for_unit:
            self._start += self._stream.read(_START_BYTES)
            self._understand()

    @property
    def waits_for_unit(self) -> bool:
        """Whether the rows read so far do not tell the unit of times, and more of them may."""
        lines = self._start.count(b"\n") - self.header.lines
        return self.reading.later_rows_tell and lines < SAMPLE_LINES and len(self._start) < _START_BYTES

    def _understand(self) -> None:
        self.header: Header = read_header(self._start, self.name, whole=self._stream.ended)
        cells = self.header.cells
        other = [mark for mark in ";\t|" if cells[0].count(mark) >= _FEWEST_SEPARATORS]
        self._recognise(cells, self._sample, hint=f", separated by {other[0]!r} instead of commas" if other else "")
        self._header_keys = frozenset().union(map(header_key, self.columns), *(d.header_keys for d in dialects()))

    _expected = "a CSV by CICFlowMeter, its Python port or ISCXFlowMeter is expected, its header first"

    def close(self) -> None:
        self._stream.close()
        self._start = b""

    @property
    def size(self) -> int | None:
        """Bytes on disk, or None for a stream."""
        return self._stream.size

    @property
    def place(self) -> str:
        """The header's last line, for messages."""
        return f"{self.name}:{self.header.lines}"

    def position(self) -> int:
        """Bytes on disk that were read so far."""
        return self._stream.position()

    def unparsed_batches(
        self, features: Sequence[str], texts: Sequence[int] = (), *, strict: bool = False
    ) -> Iterator[Callable[[], TextBatch] | None]:
        self._check_has(features)
        names = tuple(features)
        parser = self._parser(names, self.reading.columns, self.reading.factors, texts, self.relations)
        line = self.header.lines + 1
        block, self._start = self._start[self.header.end :], b""
        ended = self._stream.ended
        while block or not ended:
            lines, end, quotes = _native.find_lines(block)
            if lines and lines < _native.MAX_ROWS and not quotes:
                # Its rows are its lines, so it can be parsed later, beside the next block.
                end = len(block) if ended else end
                yield partial(self._batch, parser, block, ended, line, names, strict)
                rows_are_left = False
            else:
                # Only parsing shows where the last row ends.
                rows = self._parse(parser, block, ended, line)
                yield partial(self._checked, rows, block, names, strict)
                lines, end = rows["lines"], rows["consumed"]
                rows_are_left = len(rows["status"]) == _native.MAX_ROWS
            block, line = block[end:], line + lines
            if not ended and not rows_are_left:
                if self._stream.paused:
                    yield None
                block += self._stream.read(_BLOCK_BYTES)
                ended = self._stream.ended

    def later_batches(
        self, rows: bytes, line: int, features: Sequence[str], texts: Sequence[int] = ()
    ) -> Iterator[tuple[TextBatch, int, int]]:
        """The whole lines ``rows`` that have come to the file since: batches, as `unparsed_batches` gives them, and
        with each how many of these bytes are done, and the number of the next line. ``line``: that of the first."""
        names = tuple(features)
        parser = self._parser(names, self.reading.columns, self.reading.factors, texts, self.relations)
        done = 0
        while done < len(rows):
            block = rows[done:]
            parsed = self._parse(parser, block, True, line)
            done, line = done + parsed["consumed"], line + parsed["lines"]
            yield self._checked(parsed, block, names, False), done, line

    def _batch(
        self, parser: _native.RowParser, block: bytes, last: bool, line: int, names: tuple[str, ...], strict: bool
    ) -> TextBatch:
        return self._checked(self._parse(parser, block, last, line), block, names, strict)

    def _checked(self, rows: _native.RowsDict, block: bytes, names: tuple[str, ...], strict: bool) -> TextBatch:
        batch = TextBatch(
            names=names,
            features=rows["features"],
            status=rows["status"],
            spans=rows["spans"],
            cells=rows["cells"],
            line=rows["line"],
            block=block,
            texts=rows["texts"],
            _fault=rows["fault"],
        )
        for row in np.flatnonzero((batch.status != OK) & (batch.status != CONTRADICTION)).tolist():
            self._refuse_header(batch, row)
        with self._counting:
            self._count(batch, rows)
        if strict and batch.status.any():
            raise FlowsError(self._complaint(batch) + "; mend it, or leave out --strict")
        return batch

    def _parser(
        self,
        features: Sequence[str],
        columns: Mapping[str, int],
        factors: Mapping[str, float],
        texts: Sequence[int] = (),
        relations: Sequence[Relation] = (),
    ) -> _native.RowParser:
        needed = [name for relation in relations for name in relation.columns]
        numbers = list(dict.fromkeys([*features, *needed]))
        return _native.RowParser(
            width=len(self.header.cells),
            numbers=[(columns[name], factors.get(name, 1.0)) for name in numbers],
            texts=list(texts),
            header=self.header.line.removeprefix(b"\xef\xbb\xbf"),
            comment=self.header.comment,
            features=len(features),
            relations=[(r.kind, [numbers.index(name) for name in r.columns]) for r in relations],
        )

    def _parse(self, parser: _native.RowParser, block: bytes, last: bool, line: int) -> _native.RowsDict:
        try:
            return parser.parse(block, last, line)
        except _native.UnreadableRow as error:
            raise FlowsError(f"{self.name}: {error}") from error

    def _sample(self, columns: Mapping[str, int]) -> dict[str, F64]:
        """The first rows' values as written in the file."""
        sample, last = self._start[self.header.end :], self._stream.ended
        *lines, rest = sample.split(b"\n", SAMPLE_LINES)
        if len(lines) == SAMPLE_LINES:
            sample, last = sample[: len(sample) - len(rest)], False
        rows = self._parse(self._parser(list(columns), columns, {}), sample, last, self.header.lines + 1)
        values = rows["features"][rows["status"] == OK].astype(np.float64)
        return {name: values[:, i] for i, name in enumerate(columns)}

    def _count(self, batch: TextBatch, rows: _native.RowsDict) -> None:
        by_status = np.bincount(batch.status, minlength=CONTRADICTION + 1).tolist()
        self.counts.rows += len(batch)
        self.counts.short += by_status[SHORT]
        self.counts.long += by_status[LONG]
        self.counts.not_a_number += by_status[NOT_A_NUMBER]
        self.counts.stray_quote += by_status[STRAY_QUOTE]
        self.counts.contradictory += by_status[CONTRADICTION]
        self.counts.with_missing_values += rows["missing"]
        self.counts.blank_lines += rows["blank_lines"]
        self.counts.repeated_headers += rows["repeated_headers"]
        if by_status[CONTRADICTION]:
            broken = batch._fault[batch.status == CONTRADICTION].tolist()
            self._broken.update(self.relations[i] for i in broken)
        if by_status[CONTRADICTION] or by_status[NOT_A_NUMBER]:
            faulty = np.flatnonzero((batch.status == CONTRADICTION) | (batch.status == NOT_A_NUMBER))[:EXAMPLES]
            spans = [(int(batch.line[row]), slice(*batch.spans[row].tolist())) for row in faulty.tolist()]
            # Batches come in any order.
            self._faulty = sorted([*self._faulty, *((line, batch.block[span]) for line, span in spans)])[:EXAMPLES]

    def _contradictory(self) -> list[Mapping[str, str]]:
        cells = (next(csv.reader([row.decode("utf-8", "replace")])) for _, row in self._faulty)
        return [{name: row[place] for name, place in self.reading.columns.items()} for row in cells]

    def _refuse_header(self, batch: TextBatch, row: int) -> None:
        """Raises FlowsError where a row is a header of other columns: no row after it may be read by the first."""
        begin, end = batch.spans[row].tolist()
        text = batch.block[begin:end].removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
        cells = [header_key(cell.strip(' "')) for cell in text.split(",")]
        if len(self._header_keys.intersection(cells)) >= FEWEST_NAMES:
            raise FlowsError(
                f"{self.name}:{batch.line[row]}: is a second header, with other columns than the first; split the file "
                "there"
            )

    def _complaint(self, batch: TextBatch) -> str:
        row = int(np.flatnonzero(batch.status)[0])
        status = int(batch.status[row])
        where = f"{self.name}:{batch.line[row]}"
        if status == STRAY_QUOTE:
            return f"{where}: a quote does not close here, or text follows it"
        if status == CONTRADICTION:
            return f"{where}: contradicts itself: {self.relations[int(batch._fault[row])].text} does not hold"
        if status != NOT_A_NUMBER:
            return f"{where}: has {batch.cells[row]} cells where the header has {len(self.header.cells)}"
        column = self.reading.columns[batch.names[int(batch._fault[row])]]
        return f"{where}: column {self.columns[column]!r} holds a cell that is not a number"
