"""A file of flows, opened as what it is: text, or a table."""

from __future__ import annotations

import os

from etcc_edge.errors import EtccError, FlowsError
from etcc_edge.flows.binaries import is_table, name_binary
from etcc_edge.flows.stream import ByteStream
from etcc_edge.flows.table import Table, TableFlows
from etcc_edge.flows.text.reader import FlowFile


def open_flows(file: str | os.PathLike[str] | ByteStream) -> FlowFile | TableFlows:
    """The CSV, ARFF, Parquet or Arrow file at a path, or opened by a `ByteStream`; ``-`` is standard input. Parquet and
    Arrow files may be named by a URI of one of pyarrow's file systems, such as s3://bucket/flows.parquet.

    Raises FlowsError, and EtccError where pyarrow is needed and not installed.
    """
    if not isinstance(file, ByteStream):
        if "://" in os.fspath(file):
            return TableFlows(open_table(file))
        file = ByteStream(file, name_foreign=lambda first: "" if is_table(first) else name_binary(first))
    if not is_table(file.first):
        return FlowFile(file)
    file.close()
    if file.size is None or file.packing:  # such a file is not read from front to back
        raise FlowsError(f"{file.name}: {name_binary(file.first)}")
    return TableFlows(open_table(file.path))


def open_table(path: str | os.PathLike[str]) -> Table:
    """A Parquet or Arrow file. Raises as `open_flows` does."""
    try:
        from etcc_edge.flows.arrow.files import open_table
    except ImportError as error:
        raise EtccError(
            f"{os.fspath(path)}: Parquet and Arrow files need {error.name}: pip install 'etcc-edge[arrow]'"
        ) from error
    return open_table(path)
