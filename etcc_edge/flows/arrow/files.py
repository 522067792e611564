"""Parquet and Arrow IPC files as tables, read in bounded memory. Needs pyarrow (extra ``arrow``)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from etcc_edge.errors import FlowsError
from etcc_edge.flows.arrow.chunk import ArrowChunk, first_rows
from etcc_edge.flows.arrow.footer import TAIL_BYTES
from etcc_edge.flows.names import one_line
from etcc_edge.flows.table import SAMPLE_ROWS

_READ_ROWS = 1 << 14  # decoded at once
_BUFFER_BYTES = 1 << 18  # of each column that is read
_MAGIC_BYTES = 6


def open_table(path: str | os.PathLike[str]) -> ParquetTable | IpcTable:
    """The Parquet or Arrow IPC file at a path or a URI of one of pyarrow's file systems. Raises FlowsError."""
    name = one_line(path)
    with _reading(name):
        file = open_bytes(os.fspath(path))
        try:
            first = file.read_at(min(_MAGIC_BYTES, file.size()), 0)
            if first.startswith(b"PAR1"):
                return ParquetTable(name, file)
            if first.startswith(b"ARROW1"):
                return IpcTable(name, file)
            raise FlowsError(f"{name}: is neither a Parquet file nor an Arrow IPC file; only those are read from a URI")
        except BaseException:
            file.close()
            raise


def open_bytes(path: str) -> pa.NativeFile:
    if "://" in path:
        system, place = pyarrow.fs.FileSystem.from_uri(path)
        return system.open_input_file(place)
    return pa.OSFile(os.fsencode(path))


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Errors of pyarrow, of which the first line says what is wrong, become FlowsErrors."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: of a column's name
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FlowsError(f"{name}: cannot be read: {reason}") from error


def _read_batch(reader: pa.RecordBatchFileReader, number: int) -> pa.RecordBatch:
    """pyarrow itself takes lengths and offsets as the file has them, and would read beyond its buffers."""
    batch = reader.get_batch(number)
    batch.validate(full=True)
    return batch


class _FileTable:
    """What the two forms share. ``schema``: the file's own, with its metadata."""

    def __init__(self, name: str, file: pa.NativeFile, schema: pa.Schema) -> None:
        self.name = name
        self.schema = schema
        self.columns: tuple[str, ...] = tuple(schema.names)
        self.size: int | None = file.size()
        self._file = file
        self._share_read = 0.0

    def position(self) -> int:
        return int((self.size or 0) * self._share_read)

    def close(self) -> None:
        self._file.close()

    def _wanted(self, columns: Sequence[int]) -> list[int] | None:
        """These columns in order; None, for all, where names do not tell columns apart."""
        return sorted(columns) if len(set(self.columns)) == len(self.columns) else None

    def _places(self, schema: pa.Schema) -> list[int]:
        """Where batches of a schema have each column."""
        if schema.names == list(self.columns):
            return list(range(len(self.columns)))
        return [schema.get_field_index(name) for name in self.columns]


class ParquetTable(_FileTable):
    def __init__(self, name: str, file: pa.NativeFile) -> None:
        # Without a buffer, a column's whole part of a row group would be read at once.
        self._parquet = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        super().__init__(name, file, self._parquet.schema_arrow)

    @property
    def rows_of_groups(self) -> list[int]:
        metadata = self._parquet.metadata
        return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]

    def head(self) -> ArrowChunk:
        with _reading(self.name):
            batches = self._parquet.iter_batches(SAMPLE_ROWS, use_threads=False)
            batch = next(batches, None) or pa.RecordBatch.from_pylist([], self.schema)
        return ArrowChunk(batch, self._places(batch.schema))

    def chunks(self, columns: Sequence[int]) -> Iterator[ArrowChunk]:
        rows, read = self._parquet.metadata.num_rows, 0
        wanted = self._wanted(columns)
        names = None if wanted is None else [self.columns[i] for i in wanted]
        with _reading(self.name):
            batches = self._parquet.iter_batches(_READ_ROWS, columns=names, use_threads=False)
        while True:
            with _reading(self.name):
                batch = next(batches, None)
            if batch is None:
                return
            read += len(batch)
            self._share_read = read / rows
            yield ArrowChunk(batch, self._places(batch.schema))

    @property
    def metadata(self) -> dict[str, str]:
        """The file's own keys and values."""
        pairs = self._parquet.metadata.metadata or {}
        return {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in pairs.items()}

    @property
    def footer_size(self) -> int:
        """Bytes that describe the file; they lie behind all else, and before the tail."""
        return int.from_bytes(self.read_at((self.size or 0) - TAIL_BYTES, 4), "little")

    def footer_begin(self) -> int:
        return (self.size or 0) - TAIL_BYTES - self.footer_size

    def read_at(self, begin: int, size: int) -> bytes:
        with _reading(self.name):
            data: bytes = self._file.read_at(size, begin)
        return data


class IpcTable(_FileTable):
    def __init__(self, name: str, file: pa.NativeFile) -> None:
        self._ipc = pa.ipc.open_file(file)
        super().__init__(name, file, self._ipc.schema)

    def head(self) -> ArrowChunk:
        batches, rows = [], 0
        with _reading(self.name):
            for i in range(self._ipc.num_record_batches):
                batches.append(_read_batch(self._ipc, i).slice(0, SAMPLE_ROWS))
                rows += len(batches[-1])
                if rows >= SAMPLE_ROWS:
                    break
        return ArrowChunk(first_rows(batches, self.schema), range(len(self.columns)))

    def chunks(self, columns: Sequence[int]) -> Iterator[ArrowChunk]:
        with _reading(self.name):
            reader = pa.ipc.open_file(self._file, options=pa.ipc.IpcReadOptions(included_fields=self._wanted(columns)))
        places = self._places(reader.schema)
        for i in range(reader.num_record_batches):
            with _reading(self.name):
                batch = _read_batch(reader, i)
            self._share_read = (i + 1) / reader.num_record_batches
            yield ArrowChunk(batch, places)
