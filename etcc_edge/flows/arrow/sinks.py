"""Labelled flows into files, out of Arrow columns or into them. Needs pyarrow (extra ``arrow``)."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from etcc_edge.arrays import F32, I8, I32
from etcc_edge.errors import EtccError, FlowsError
from etcc_edge.flows.arrow.files import ParquetTable
from etcc_edge.flows.arrow.footer import MAGIC, TAIL_BYTES, joined
from etcc_edge.flows.arrow.labels import LabelColumns
from etcc_edge.flows.arrow.own import OwnColumns
from etcc_edge.flows.batch import Batch
from etcc_edge.flows.columns import ColumnFlows
from etcc_edge.flows.table import TableFlows

if TYPE_CHECKING:
    from etcc_edge.flows.arrow.lines import CsvSink

GROUP_ROWS = 1 << 16
"""Of a row group that is written anew: what is buffered of a file with many columns stays below 100 MB."""
_PIECE = 4 << 20  # bytes of a copy
_SPARK_SCHEMA = "org.apache.spark.sql.parquet.row.metadata"
_ARROW_SCHEMA = "ARROW:schema"


class _ArrowSink:
    """Batches as record batches: the flows' own columns, then the labels."""

    def __init__(self, own: OwnColumns, labels: LabelColumns) -> None:
        self._own, self._labels = own, labels
        self.texts = own.kept
        self._schema = pa.schema([*own.schema, *labels.fields], own.schema.metadata)

    def format(self, batch: Batch, codes: I32, confidence: F32, known: I8 | None) -> pa.RecordBatch:
        arrays = [*self._own.arrays(batch), *self._labels.arrays(codes, confidence, known)]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def flush(self) -> None:
        pass


class IpcSink(_ArrowSink):
    def __init__(self, out: BinaryIO, own: OwnColumns, labels: LabelColumns) -> None:
        super().__init__(own, labels)
        self._writer = pa.ipc.new_file(out, self._schema)

    def write(self, formatted: pa.RecordBatch) -> None:
        self._writer.write_batch(formatted)

    def close(self) -> None:
        self._writer.close()


class ParquetSink(_ArrowSink):
    """Writes row groups of `GROUP_ROWS`."""

    def __init__(self, out: BinaryIO, own: OwnColumns, labels: LabelColumns) -> None:
        super().__init__(own, labels)
        self._writer = _parquet_writer(out, self._schema)
        self._group: list[pa.RecordBatch] = []

    def write(self, formatted: pa.RecordBatch) -> None:
        self._group.append(formatted)
        if sum(map(len, self._group)) >= GROUP_ROWS:
            self._write_group()

    def close(self) -> None:
        self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        group, self._group = self._group, []
        if group:
            self._writer.write_table(pa.Table.from_batches(group), row_group_size=1 << 26)


class _Writer(pq.ParquetWriter):  # type: ignore[misc]
    """The library's own, when it is thrown away after a failure, writes to the file that is closed by then, and prints
    a traceback."""

    def __del__(self) -> None:
        pass


def _parquet_writer(out: BinaryIO, schema: pa.Schema, **options: Any) -> pq.ParquetWriter:
    repeated = [column.name for column in schema if column.type != pa.float32()]  # confidences hardly repeat
    return _Writer(out, schema, compression="zstd", use_dictionary=repeated, **options)


class AppendSink:
    """A Parquet file with the labels as further columns. What it holds, down to the bytes of its pages, is copied as it
    is; the labels' own row groups, of the same rows, come after it, and one footer describes both.

    Writes to a regular file. Raises FlowsError for a file that is damaged.
    """

    texts: Sequence[int] = ()

    def __init__(self, out: BinaryIO, table: ParquetTable, labels: LabelColumns) -> None:
        self._out, self._table, self._labels = out, table, labels
        self._schema = pa.schema(labels.fields)
        self._rows_left = table.rows_of_groups[::-1]
        self._group: list[pa.RecordBatch] = []
        self._begin = table.footer_begin()
        for at in range(0, self._begin, _PIECE):
            out.write(table.read_at(at, min(_PIECE, self._begin - at)))
        self._written: list[pq.FileMetaData] = []
        self._writer = _parquet_writer(out, self._schema, metadata_collector=self._written)

    def format(self, batch: Batch, codes: I32, confidence: F32, known: I8 | None) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays(self._labels.arrays(codes, confidence, known), schema=self._schema)

    def write(self, formatted: pa.RecordBatch) -> None:
        while len(formatted):
            self._write_empty_groups()
            part = formatted.slice(0, self._rows_left[-1])
            formatted = formatted.slice(len(part))
            self._group.append(part)
            self._rows_left[-1] -= len(part)
            if not self._rows_left[-1]:
                rows = pa.Table.from_batches(self._group)
                self._writer.write_table(rows, row_group_size=len(rows))
                self._group = []
                self._rows_left.pop()

    def _write_empty_groups(self) -> None:
        while self._rows_left and not self._rows_left[-1]:
            self._writer.write_table(self._schema.empty_table())
            self._rows_left.pop()

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self._write_empty_groups()
        end = self._out.tell()
        self._writer.close()
        own = BytesIO()
        self._written[0].write_metadata_file(own)
        try:
            # The writer counts from where it began.
            footer = joined(
                self._table.read_at(self._begin, self._table.footer_size),
                own.getvalue()[len(MAGIC) : -TAIL_BYTES],
                shift=self._begin,
                key_values=self._key_values(),
            )
        except EtccError as error:
            raise FlowsError(f"{self._table.name}: {error}") from error
        self._out.seek(end)
        self._out.truncate()
        self._out.write(footer + len(footer).to_bytes(4, "little") + MAGIC)

    def _key_values(self) -> dict[str, str]:
        """What the file says of its columns in its metadata, with the labels."""
        stated = self._table.metadata
        values = {}
        if _ARROW_SCHEMA in stated:
            schema = pa.schema([*self._table.schema, *self._schema], self._table.schema.metadata)
            values[_ARROW_SCHEMA] = base64.b64encode(schema.serialize()).decode()
        if _SPARK_SCHEMA in stated:
            columns = json.loads(stated[_SPARK_SCHEMA])
            columns["fields"] += [
                {"name": label.name, "type": _spark_type(label.type), "nullable": True, "metadata": {}}
                for label in self._schema
            ]
            values[_SPARK_SCHEMA] = json.dumps(columns)
        return values


def _spark_type(type_: pa.DataType) -> str:
    if pa.types.is_boolean(type_):
        return "boolean"
    return "float" if pa.types.is_floating(type_) else "string"


Sink: TypeAlias = "IpcSink | ParquetSink | AppendSink | CsvSink"
_PARQUET, _IPC = (".parquet", ".pq"), (".arrow", ".feather", ".ipc")


def arrow_sink(
    out: BinaryIO, form: str, source: ColumnFlows[Any], kept: Sequence[int] | None, labels: LabelColumns
) -> Sink:
    """A sink for a file whose name ends in ``form``: Parquet, Arrow IPC, else CSV. ``kept``: the columns of the source
    that come before the labels; None: all as they are."""
    columns = range(len(source.columns)) if kept is None else kept
    table = source.table if isinstance(source, TableFlows) else None
    if form in _PARQUET and kept is None and isinstance(table, ParquetTable):
        return AppendSink(out, table, labels)
    own = OwnColumns(source, columns)
    if form in _PARQUET:
        return ParquetSink(out, own, labels)
    if form in _IPC:
        return IpcSink(out, own, labels)
    from etcc_edge.flows.arrow.lines import CsvSink

    return CsvSink(out, own, labels)
